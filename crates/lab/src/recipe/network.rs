//! Names, time, directories, messages and telephony: what other servers lean on.

use super::{Access, Door, Place, Ready, Recipe, Version};
use anyhow::Result;
use std::process::Command;

const DNS: &[&str] = &["dns", "domain"];

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::fast(
        "slapd",
        // OpenLDAP tells no version to anybody.
        &[Door::tcp("slapd", 389, &["ldap"], &["OpenLDAP"]).access(Access::Open)],
        |p| {
            p.folder("db")?;
            let text = "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {dir}/pid\n\
                        database mdb\nsuffix dc=lab,dc=test\ndirectory {dir}/db\nrootdn cn=admin,dc=lab,dc=test\nrootpw not-a-secret-of-anything-real\n";
            p.write("slapd.conf", text)?;
            p.write("base.ldif", "dn: dc=lab,dc=test\nobjectClass: dcObject\nobjectClass: organization\no: lab\ndc: lab\n")?;
            p.run("slapadd -f {dir}/slapd.conf -l {dir}/base.ldif")?;
            p.line("slapd -d 0 -f {dir}/slapd.conf -h ldap://0.0.0.0:{port}/")
        },
    ),
    Recipe::slow(
        "slapd-acl",
        &[Door::tcp("slapd-acl", 389, &["ldap"], &["", "OpenLDAP"]).access(Access::Password)],
        |p| {
            p.folder("db")?;
            let text = "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {dir}/pid\ndisallow bind_anon\n\
                        require authc\ndatabase mdb\nsuffix dc=lab,dc=test\ndirectory {dir}/db\nrootdn cn=admin,dc=lab,dc=test\nrootpw not-a-secret-of-anything-real\n";
            p.write("slapd.conf", text)?;
            p.line("slapd -d 0 -f {dir}/slapd.conf -h ldap://0.0.0.0:{port}/")
        },
    ),
    Recipe::fast(
        "nats",
        &[
            Door::tcp("nats", 4222, &["nats"], &["NATS", "NATS Server"]).version(Version::Package("nats-server")).access(Access::Open),
            Door::tcp("nats-monitoring", 8222, &["http", "nats", "nats-monitor"], &["NATS", "NATS Server"])
                .version(Version::Package("nats-server"))
                .access(Access::Open),
        ],
        |p| p.line("nats-server -a 0.0.0.0 -p {port} -m {port1}"),
    ),
    Recipe::fast(
        "mosquitto",
        // MQTT 3.1.1 names no product; its own topic, which anybody may read, tells it and the version.
        &[Door::tcp("mosquitto", 1883, &["mqtt"], &["", "Mosquitto", "mosquitto"]).version(Version::Package("mosquitto")).access(Access::Open)],
        |p| {
            p.write("mosquitto.conf", "listener {port} 0.0.0.0\nallow_anonymous true\nuser root\n")?;
            p.line("mosquitto -c {dir}/mosquitto.conf")
        },
    ),
    Recipe::slow(
        "rabbitmq",
        &[
            Door::tcp("rabbitmq", 5672, &["amqp"], &["RabbitMQ"]).version(Version::Package("rabbitmq-server")).access(Access::DefaultPair),
            Door::tcp("rabbitmq-management", 15672, &["http", "rabbitmq"], &["RabbitMQ", "RabbitMQ Management"])
                .beneath(&["Cowboy"])
                .access(Access::DefaultPair),
        ],
        // guest may sign in from anywhere: the vendor's pair, and the vendor's own lock taken off.
        |p| rabbitmq(p, "loopback_users = none\nmanagement.tcp.port = {port1}\n"),
    )
    .ready(Ready::Logs("completed with")),
    Recipe::slow(
        "activemq",
        &[Door::tcp("activemq", 61616, &["activemq", "openwire", "apachemq"], &["ActiveMQ", "ActiveMQ OpenWire transport"]).version(Version::Package("activemq"))],
        |p| {
            for folder in ["data", "tmp"] {
                p.folder(folder)?;
            }
            let text = "<beans xmlns=\"http://www.springframework.org/schema/beans\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
                        xsi:schemaLocation=\"http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd \
                        http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd\">\
                        <broker xmlns=\"http://activemq.apache.org/schema/core\" brokerName=\"lab\" dataDirectory=\"{dir}/data\" persistent=\"false\" \
                        useJmx=\"false\"><transportConnectors><transportConnector name=\"openwire\" uri=\"tcp://0.0.0.0:{port}\"/></transportConnectors>\
                        </broker></beans>\n";
            p.write("activemq.xml", text)?;
            p.line(
                "java -Xmx96m -Dactivemq.home=/usr/share/activemq -Dactivemq.base={dir} -Dactivemq.data={dir}/data -Djava.io.tmpdir={dir}/tmp \
                 -jar /usr/share/activemq/bin/activemq.jar start xbean:file:{dir}/activemq.xml",
            )
        },
    ),
    Recipe::slow(
        "bind",
        &[
            Door::tcp("bind", 53, DNS, &["BIND", "ISC BIND"]).version(Version::Package("bind9")),
            Door::udp("bind-udp", 53, DNS, &["BIND", "ISC BIND"]).version(Version::Package("bind9")),
        ],
        |p| {
            let text = "options { directory \"{dir}\"; listen-on port {port} { any; }; listen-on-v6 { none; }; recursion no; pid-file none; \
                        session-keyfile \"{dir}/key\"; dnssec-validation no; };\ncontrols { };\n";
            p.write("named.conf", text)?;
            p.line("named -g -c {dir}/named.conf -u root -n 1")
        },
    )
    .ready(Ready::Logs("running")),
    Recipe::slow(
        "unbound",
        &[
            Door::tcp("unbound", 53, DNS, &["Unbound"]).version(Version::Package("unbound")),
            Door::udp("unbound-udp", 53, DNS, &["Unbound"]).version(Version::Package("unbound")),
        ],
        |p| {
            let text = "server:\n interface: 0.0.0.0\n port: {port}\n access-control: 0.0.0.0/0 allow\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n \
                        use-syslog: no\n do-daemonize: no\n module-config: \"iterator\"\n directory: \"{dir}\"\nremote-control:\n control-enable: no\n";
            p.write("unbound.conf", text)?;
            p.line("unbound -d -c {dir}/unbound.conf")
        },
    ),
    Recipe::fast(
        "dnsmasq",
        &[
            Door::tcp("dnsmasq", 53, DNS, &["dnsmasq"]).version(Version::Package("dnsmasq-base")),
            Door::udp("dnsmasq-udp", 53, DNS, &["dnsmasq"]).version(Version::Package("dnsmasq-base")),
        ],
        |p| p.line("dnsmasq --keep-in-foreground --port={port} --no-resolv --no-hosts --user=root --pid-file={dir}/pid --conf-file=/dev/null"),
    ),
    Recipe::fast(
        "snmpd",
        &[Door::udp("snmpd", 161, &["snmp"], &["", "net-snmp", "Net-SNMP"]).access(Access::Open)],
        |p| {
            p.write("snmpd.conf", "agentaddress udp:0.0.0.0:{port}\nrocommunity public\n")?;
            let mut c = p.line("snmpd -f -Lo -C -c {dir}/snmpd.conf -p {dir}/pid")?;
            c.env("SNMP_PERSISTENT_DIR", &p.dir);
            Ok(c)
        },
    ),
    Recipe::slow("chrony", &[Door::udp("chrony", 123, &["ntp"], &["", "chrony"])], |p| {
        p.write("chrony.conf", "port {port}\nallow all\nlocal stratum 5\ncmdport 0\ndriftfile {dir}/drift\npidfile {dir}/pid\n")?;
        p.line("chronyd -n -x -u root -f {dir}/chrony.conf")
    }),
    Recipe::slow(
        "kamailio",
        &[Door::tcp("kamailio", 5060, &["sip"], &["Kamailio", "kamailio"]).version(Version::Package("kamailio"))],
        |p| {
            let text = "#!KAMAILIO\ndebug=1\nlog_stderror=yes\nfork=yes\nchildren=1\ntcp_children=1\nlisten=tcp:0.0.0.0:{port}\nlisten=udp:0.0.0.0:{port}\n\
                        auto_aliases=no\nmpath=\"/usr/lib/x86_64-linux-gnu/kamailio/modules/\"\nloadmodule \"sl.so\"\nrequest_route {\n sl_send_reply(\"200\", \"OK\");\n}\n";
            p.write("kamailio.cfg", text)?;
            p.folder("run")?;
            p.line("kamailio -DD -E -f {dir}/kamailio.cfg -P {dir}/pid -Y {dir}/run -m 16 -M 4")
        },
    ),
    Recipe::slow("tor", &[Door::tcp("tor", 9050, &["socks5", "socks", "tor-socks", "tor"], &["", "Tor", "Tor SOCKS proxy"])], |p| {
        p.folder("data")?;
        p.write("torrc", "SocksPort 0.0.0.0:{port}\nDataDirectory {dir}/data\nDisableNetwork 0\nLog notice stdout\nUser root\n")?;
        // Its data directory must be nobody else's.
        p.run("chmod 700 {dir}/data")?;
        p.line("tor -f {dir}/torrc")
    }),
    Recipe::slow("dante", &[Door::tcp("dante", 1080, &["socks5", "socks"], &["", "Dante"])], |p| {
        let text = "logoutput: stderr\ninternal: 0.0.0.0 port = {port}\nexternal: lo\nclientmethod: none\nsocksmethod: none\nuser.notprivileged: nobody\n\
                    client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks block { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n";
        p.write("danted.conf", text)?;
        p.line("danted -f {dir}/danted.conf -p {dir}/pid")
    }),
    Recipe::slow(
        "zabbix-agent",
        &[Door::tcp("zabbix-agent", 10050, &["zabbix-agent", "zabbix"], &["", "Zabbix agent", "Zabbix", "Zabbix Monitoring System"]).version(Version::Package("zabbix-agent"))],
        |p| {
            p.write("zabbix.conf", "Server=0.0.0.0/0\nListenPort={port}\nLogType=console\nPidFile={dir}/pid\nAllowRoot=1\nHostname=lab\n")?;
            p.line("zabbix_agentd -f -c {dir}/zabbix.conf")
        },
    ),
    Recipe::slow(
        "mpd",
        &[Door::tcp("mpd", 6600, &["mpd"], &["", "Music Player Daemon", "MPD"])],
        |p| {
            p.folder("music")?;
            let text = "music_directory \"{dir}/music\"\ndb_file \"{dir}/db\"\nbind_to_address \"0.0.0.0\"\nport \"{port}\"\n\
                        audio_output {\n type \"null\"\n name \"none\"\n}\n";
            p.write("mpd.conf", text)?;
            p.line("mpd --no-daemon --stderr {dir}/mpd.conf")
        },
    ),
];

/// RabbitMQ on its own node, with more lines of configuration.
pub(super) fn rabbitmq(p: &Place, more: &str) -> Result<Command> {
    p.folder("data")?;
    let management = more.contains("management");
    p.write("rabbitmq.conf", &format!("listeners.tcp.1 = 0.0.0.0:{{port}}\n{more}"))?;
    p.write("enabled_plugins", if management { "[rabbitmq_management].\n" } else { "[].\n" })?;
    p.give_to("rabbitmq")?;
    let mut c = p.line("/usr/lib/rabbitmq/bin/rabbitmq-server")?;
    let dir = p.dir.display().to_string();
    for (name, value) in [
        ("RABBITMQ_NODENAME", "lab@localhost".to_owned()),
        ("RABBITMQ_CONFIG_FILE", format!("{dir}/rabbitmq")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", format!("{dir}/enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", format!("{dir}/data")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_DIST_PORT", "26001".to_owned()),
        ("HOME", dir.clone()),
    ] {
        c.env(name, value);
    }
    Ok(c)
}
