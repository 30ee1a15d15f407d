//! Small servers of Debian, each on a port that is not its own: what the rules say is what the package is.
//!
//! All of them are started and asked at the same time. Servers that take long to start or much to hold are left to the slow tests.

use crate::servers::{Server, directory, free_port, program, start};
use crate::{identify, line};
use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// A server: its name, where it may listen, how its line begins, and what starts it.
struct Small {
    name: &'static str,
    ports: Ports,
    said: &'static str,
    command: fn(&str, &Path) -> Command,
}

/// Where a server listens in the test.
enum Ports {
    /// Anywhere: what it answers to a line of text, or says unasked, is enough.
    Any,
    /// On a port that resembles its own, because only its own question is answered.
    Near(Range<u16>),
}

/// A command line whose words are separated by blanks, `{port}` and `{dir}` filled in.
fn words(package: &str, line: &str, port: &str, dir: &Path) -> Command {
    let filled = line.replace("{port}", port).replace("{dir}", dir.to_str().unwrap());
    let mut words = filled.split_whitespace();
    let mut command = Command::new(program(words.next().unwrap(), package));
    command.args(words).current_dir(dir);
    command
}

/// Writes a file of that server's directory, `{port}` and `{dir}` filled in.
fn write(dir: &Path, name: &str, text: &str, port: &str) {
    std::fs::write(dir.join(name), text.replace("{port}", port).replace("{dir}", dir.to_str().unwrap())).unwrap();
}

/// Gives the directory to the user as whom the server runs.
fn give(dir: &Path, user: &str) {
    assert!(Command::new("chown").arg("-R").arg(user).arg(dir).status().unwrap().success(), "chown to {user}");
}

const SERVERS: &[Small] = &[
    Small {
        name: "mosquitto",
        ports: Ports::Near(1885..1893),
        said: "mqtt Eclipse Mosquitto 2.",
        command: |port, dir| {
            write(dir, "conf", "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n", port);
            words("mosquitto", "mosquitto -c {dir}/conf", port, dir)
        },
    },
    Small {
        name: "microsocks",
        ports: Ports::Any,
        said: "socks",
        command: |port, dir| words("microsocks", "microsocks -i 127.0.0.1 -p {port}", port, dir),
    },
    Small {
        name: "svnserve",
        ports: Ports::Any,
        said: "svn Subversion",
        command: |port, dir| {
            words("subversion", "svnserve -d --foreground -r {dir} --listen-host 127.0.0.1 --listen-port {port}", port, dir)
        },
    },
    Small {
        name: "ngircd",
        ports: Ports::Any,
        said: "irc",
        command: |port, dir| {
            let text = "[Global]\nName = irc.example.net\nAdminInfo1 = a\nListen = 127.0.0.1\nPorts = {port}\nServerUID = nobody\n\
                        ServerGID = nogroup\n[Options]\nPAM = no\n";
            write(dir, "conf", text, port);
            words("ngircd", "ngircd -n -f {dir}/conf", port, dir)
        },
    },
    Small {
        name: "prosody",
        ports: Ports::Any,
        said: "xmpp",
        command: |port, dir| {
            let text = "run_as_root = true\npidfile = \"{dir}/pid\"\ndata_path = \"{dir}\"\nc2s_ports = { {port} }\n\
                        c2s_interfaces = { \"127.0.0.1\" }\ns2s_ports = {}\nhttp_ports = {}\nhttps_ports = {}\nVirtualHost \"localhost\"\n";
            write(dir, "conf.lua", text, port);
            words("prosody", "prosody --config {dir}/conf.lua -F", port, dir)
        },
    },
    Small {
        name: "beanstalkd",
        ports: Ports::Any,
        said: "beanstalkd beanstalkd 1.",
        command: |port, dir| words("beanstalkd", "beanstalkd -l 127.0.0.1 -p {port}", port, dir),
    },
    Small {
        name: "gearmand",
        ports: Ports::Any,
        said: "gearman Gearman 1.",
        command: |port, dir| words("gearman-job-server", "gearmand -L 127.0.0.1 -p {port} -l stderr", port, dir),
    },
    Small {
        name: "munin-node",
        ports: Ports::Any,
        said: "munin Munin node 2.",
        command: |port, dir| {
            let text = "log_level 4\nlog_file {dir}/munin.log\npid_file {dir}/pid\nbackground 0\nsetsid 0\nuser root\ngroup root\n\
                        host 127.0.0.1\nport {port}\nallow ^127\\.0\\.0\\.1$\n";
            write(dir, "conf", text, port);
            words("munin-node", "munin-node --config {dir}/conf", port, dir)
        },
    },
    Small {
        name: "nats-server's monitor",
        ports: Ports::Any,
        said: "nats-monitor NATS 2.",
        command: |port, dir| {
            let own = free_port();
            words("nats-server", &format!("nats-server -a 127.0.0.1 -p {own} -m {{port}}"), port, dir)
        },
    },
    Small {
        name: "prometheus-node-exporter",
        ports: Ports::Any,
        said: "node-exporter Prometheus node exporter 1.",
        command: |port, dir| {
            let line = "prometheus-node-exporter --web.listen-address=127.0.0.1:{port}";
            words("prometheus-node-exporter", line, port, dir)
        },
    },
    Small {
        name: "prometheus-alertmanager",
        ports: Ports::Any,
        said: "alertmanager Alertmanager 0.",
        command: |port, dir| {
            write(dir, "conf.yml", "route: {receiver: x}\nreceivers: [{name: x}]\n", port);
            let line = "prometheus-alertmanager --config.file={dir}/conf.yml --storage.path={dir} --cluster.listen-address= \
                        --web.listen-address=127.0.0.1:{port}";
            words("prometheus-alertmanager", line, port, dir)
        },
    },
    Small {
        name: "prometheus",
        ports: Ports::Any,
        said: "prometheus Prometheus 2.",
        command: |port, dir| {
            write(dir, "conf.yml", "global: {}\n", port);
            let line =
                "prometheus --config.file={dir}/conf.yml --storage.tsdb.path={dir}/data --web.listen-address=127.0.0.1:{port}";
            words("prometheus", line, port, dir)
        },
    },
    Small {
        name: "lighttpd",
        ports: Ports::Any,
        said: "http lighttpd 1.4.",
        command: |port, dir| {
            write(dir, "conf", "server.document-root=\"{dir}\"\nserver.port={port}\nserver.bind=\"127.0.0.1\"\n", port);
            words("lighttpd", "lighttpd -D -f {dir}/conf", port, dir)
        },
    },
    Small {
        name: "apache2",
        ports: Ports::Any,
        said: "http Apache httpd 2.4.",
        command: |port, dir| {
            let text = "ServerRoot {dir}\nPidFile {dir}/pid\nListen 127.0.0.1:{port}\nErrorLog {dir}/error\nDocumentRoot {dir}\nServerName x\n\
                        LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
                        LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n";
            write(dir, "conf", text, port);
            words("apache2-bin", "apache2 -X -f {dir}/conf", port, dir)
        },
    },
    Small {
        name: "haproxy",
        ports: Ports::Any,
        said: "http HAProxy 2.",
        command: |port, dir| {
            let text = "defaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 5s\nlisten statistics\n \
                        bind 127.0.0.1:{port}\n stats enable\n stats uri /\n";
            write(dir, "conf", text, port);
            words("haproxy", "haproxy -db -f {dir}/conf", port, dir)
        },
    },
    Small {
        name: "tinyproxy",
        ports: Ports::Any,
        said: "http tinyproxy 1.",
        command: |port, dir| {
            write(dir, "conf", "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients 10\n", port);
            words("tinyproxy-bin", "tinyproxy -d -c {dir}/conf", port, dir)
        },
    },
    Small {
        name: "mini_httpd",
        ports: Ports::Any,
        said: "http mini_httpd 1.",
        command: |port, dir| words("mini-httpd", "mini_httpd -D -p {port} -h 127.0.0.1 -d {dir}", port, dir),
    },
    Small {
        name: "tor's control port",
        ports: Ports::Any,
        said: "tor Tor 0.4.",
        command: |port, dir| {
            write(
                dir,
                "torrc",
                "SocksPort 0\nControlPort {port}\nDataDirectory {dir}\nDisableNetwork 1\nUser debian-tor\n",
                port,
            );
            give(dir, "debian-tor");
            words("tor", "tor -f {dir}/torrc", port, dir)
        },
    },
    Small {
        name: "krb5kdc",
        ports: Ports::Any,
        said: "kerberos",
        command: |port, dir| {
            write(dir, "krb5.conf", "[libdefaults]\ndefault_realm = LAB.EXAMPLE\n", port);
            let text = "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n[realms]\nLAB.EXAMPLE = {\n \
                        database_name = {dir}/principal\n key_stash_file = {dir}/stash\n acl_file = {dir}/acl\n}\n";
            write(dir, "kdc.conf", text, port);
            let with = |mut command: Command| {
                command.env("KRB5_CONFIG", dir.join("krb5.conf")).env("KRB5_KDC_PROFILE", dir.join("kdc.conf"));
                command
            };
            let made = with(words("krb5-kdc", "kdb5_util create -s -P lab -r LAB.EXAMPLE", port, dir)).output().unwrap();
            assert!(made.status.success(), "{made:?}");
            with(words("krb5-kdc", "krb5kdc -n", port, dir))
        },
    },
    Small {
        name: "git daemon",
        ports: Ports::Near(9_419..9_428),
        said: "git git daemon",
        command: |port, dir| {
            words("git", "git daemon --listen=127.0.0.1 --port={port} --base-path={dir} --export-all", port, dir)
        },
    },
    Small {
        name: "zabbix_agentd",
        ports: Ports::Near(10_052..10_060),
        said: "zabbix-agent Zabbix agent 6.",
        command: |port, dir| {
            let text = "LogType=console\nPidFile={dir}/pid\nServer=127.0.0.1\nListenIP=127.0.0.1\nListenPort={port}\nHostname=x\nAllowRoot=1\n";
            write(dir, "conf", text, port);
            words("zabbix-agent", "zabbix_agentd -f -c {dir}/conf", port, dir)
        },
    },
    Small {
        name: "Xvfb",
        ports: Ports::Near(6_011..6_020),
        said: "x11 X.Org X server 21.1.",
        // The port of a display is 6000 and its number.
        command: |port, dir| {
            let display = port.parse::<u16>().unwrap() - 6_000;
            let line = format!("Xvfb :{display} -listen tcp -nolisten unix -ac -nolock -screen 0 320x240x8");
            words("xvfb", &line, port, dir)
        },
    },
    Small { name: "daytime", ports: Ports::Any, said: "daytime", command: |port, dir| inetd("daytime", port, dir) },
    Small { name: "chargen", ports: Ports::Any, said: "chargen", command: |port, dir| inetd("chargen", port, dir) },
];

/// One of xinetd's own small services.
fn inetd(service: &str, port: &str, dir: &Path) -> Command {
    let text = format!(
        "defaults\n{{\n bind = 127.0.0.1\n}}\nservice {service}\n{{\n type = INTERNAL UNLISTED\n id = x\n port = {{port}}\n \
         socket_type = stream\n protocol = tcp\n user = root\n wait = no\n}}\n"
    );
    write(dir, "conf", &text, port);
    words("xinetd", "xinetd -dontfork -f {dir}/conf -pidfile {dir}/pid", port, dir)
}

fn run(small: &Small) -> Server {
    let port = match &small.ports {
        Ports::Any => free_port(),
        Ports::Near(range) => {
            let free = range.clone().find(|p| TcpListener::bind(("127.0.0.1", *p)).is_ok());
            free.unwrap_or_else(|| panic!("{}: no port of {range:?} is free", small.name))
        }
    };
    let dir = directory();
    let command = (small.command)(&port.to_string(), dir.path());
    start(command, port, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_small_server_is_what_its_package_is() {
    let starting: Vec<_> = SERVERS.iter().map(|small| tokio::task::spawn_blocking(move || (small, run(small)))).collect();
    let mut asked = Vec::new();
    for server in starting {
        let (small, server) = server.await.unwrap();
        asked.push(tokio::spawn(async move {
            let said = identify(server.port).await.identification;
            (small, server, said)
        }));
    }
    let mut wrong = Vec::new();
    for one in asked {
        let (small, _server, said) = one.await.unwrap();
        let told = line(&said);
        if !told.starts_with(small.said) {
            wrong.push(format!("{}: expected `{}`, got `{told}`: {said:?}", small.name, small.said));
        }
    }
    assert!(wrong.is_empty() && SERVERS.len() >= 18, "{} of {} wrong:\n{}", wrong.len(), SERVERS.len(), wrong.join("\n"));
}
