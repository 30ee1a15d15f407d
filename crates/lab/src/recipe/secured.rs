//! The same servers behind a password, an access list or a client certificate: who is told less, and what may never be claimed.

use super::stores::{mariadb, postgresql, redis};
use super::{Access, Door, Place, Ready, Recipe, Version};
use anyhow::Result;
use std::process::Command;

pub(super) const RECIPES: &[Recipe] = &[
    // Its refusal is word for word that of the servers that were made from it.
    Recipe::fast(
        "redis-password",
        &[Door::tcp("redis-password", 6379, &["redis"], &["", "Redis"]).access(Access::Password)],
        |p| redis(p, "requirepass not-a-secret-of-anything-real"),
    ),
    Recipe::fast(
        "redis-acl",
        &[Door::tcp("redis-acl", 6379, &["redis"], &["", "Redis"]).access(Access::Acl)],
        // Signed in by default, and allowed nothing but a ping.
        |p| redis(p, "user default on nopass -@all +ping"),
    ),
    Recipe::fast(
        "mariadb-password",
        &[Door::tcp("mariadb-password", 3306, &["mysql"], &["MariaDB"])
            .version(Version::Package("mariadb-server"))
            .access(Access::Password)],
        |p| mariadb(p, "CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED BY 'not-a-secret-of-anything-real';\n"),
    )
    .ready(Ready::Logs("ready for connections")),
    Recipe::slow(
        "mariadb-acl",
        // Error 1130 in place of a greeting: the product stands in its text, the version does not.
        &[Door::tcp("mariadb-acl", 3306, &["mysql"], &["MariaDB"]).access(Access::Acl)],
        |p| mariadb(p, ""),
    )
    .ready(Ready::Logs("ready for connections")),
    Recipe::fast(
        "postgresql-password",
        &[Door::tcp("postgresql-password", 5432, &["postgresql"], &["PostgreSQL"]).access(Access::Password)],
        |p| postgresql(p, "scram-sha-256"),
    )
    .ready(Ready::Logs("ready to accept connections")),
    Recipe::slow(
        "postgresql-acl",
        &[Door::tcp("postgresql-acl", 5432, &["postgresql"], &["PostgreSQL"]).access(Access::Acl)],
        |p| postgresql(p, "reject"),
    )
    .ready(Ready::Logs("ready to accept connections")),
    Recipe::slow(
        "etcd-client-certificate",
        &[Door::tcp("etcd-client-certificate", 2379, &["", "etcd", "http", "unknown"], &[]).tls().access(Access::ClientCertificate)],
        |p| {
            p.certificate()?;
            p.line(
                "etcd --data-dir {dir}/data --listen-client-urls https://0.0.0.0:{port} --advertise-client-urls \
                 https://{address}:{port} --listen-peer-urls http://127.0.0.1:0 --cert-file {dir}/cert.pem --key-file \
                 {dir}/key.pem --client-cert-auth --trusted-ca-file {dir}/cert.pem",
            )
        },
    ),
    Recipe::slow(
        "etcd-password",
        &[Door::tcp("etcd-password", 2379, &["etcd"], &["etcd"])
            .version(Version::Package("etcd-server"))
            .access(Access::Password)],
        |p| {
            p.line(
                "etcd --data-dir {dir}/data --listen-client-urls http://0.0.0.0:{port} --advertise-client-urls \
                 http://{address}:{port} --listen-peer-urls http://127.0.0.1:0",
            )
        },
    )
    .ready(Ready::Logs("ready to serve client requests"))
    .settle(|p| {
        for words in [&["user", "add", "root:not-a-secret-of-anything-real"][..], &["user", "grant-role", "root", "root"], &["auth", "enable"]] {
            p.run_words(&[&["etcdctl", "--endpoints", "127.0.0.1:{port}"][..], words].concat())?;
        }
        Ok(())
    }),
    Recipe::slow(
        "influxdb-password",
        &[Door::tcp("influxdb-password", 8086, &["influxdb", "http"], &["InfluxDB"])
            .version(Version::Package("influxdb"))
            .access(Access::Password)],
        |p| {
            let text = "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n[meta]\n dir = \"{dir}/meta\"\n[data]\n dir = \"{dir}/data\"\n \
                        wal-dir = \"{dir}/wal\"\n[http]\n bind-address = \":{port}\"\n auth-enabled = true\n";
            p.write("influx.conf", text)?;
            p.line("influxd -config {dir}/influx.conf")
        },
    )
    .settle(|p| {
        let body = "q=CREATE USER root WITH PASSWORD 'not-a-secret-of-anything-real' WITH ALL PRIVILEGES";
        p.run_words(&["curl", "-sf", "-XPOST", "http://127.0.0.1:{port}/query", "--data-urlencode", body]).map(drop)
    }),
    Recipe::fast(
        "mosquitto-password",
        &[Door::tcp("mosquitto-password", 1883, &["mqtt"], &["", "Mosquitto", "mosquitto"]).access(Access::Password)],
        |p| {
            p.write("mosquitto.conf", "listener {port} 0.0.0.0\nallow_anonymous false\nuser root\n")?;
            p.line("mosquitto -c {dir}/mosquitto.conf")
        },
    ),
    Recipe::fast(
        "vsftpd-password",
        &[Door::tcp("vsftpd-password", 21, &["ftp"], &["vsFTPd", "vsftpd"])
            .version(Version::Package("vsftpd"))
            .access(Access::Password)],
        |p| super::files::vsftpd(p, false),
    ),
    // Its refusal names the server inside it, Medusa, under that one's own number; its own it tells to nobody.
    Recipe::slow(
        "supervisor-password",
        &[Door::tcp("supervisor-password", 9001, &["http", "supervisor"], &["Supervisor", "supervisord"])
            .beneath(&["Medusa"])
            .access(Access::Password)],
        |p| super::admin::supervisor(p, "username = operator\npassword = not-a-secret-of-anything-real\n"),
    ),
    Recipe::slow(
        "docker-client-certificate",
        &[Door::tcp("docker-client-certificate", 2376, &["", "docker", "http", "unknown"], &[]).tls().access(Access::ClientCertificate)],
        |p| {
            p.certificate()?;
            dockerd(p, "--tlsverify --tlscacert={dir}/cert.pem --tlscert={dir}/cert.pem --tlskey={dir}/key.pem")
        },
    ),
    Recipe::slow(
        "rabbitmq-password",
        &[Door::tcp("rabbitmq-password", 5672, &["amqp"], &["RabbitMQ"])
            .version(Version::Package("rabbitmq-server"))
            .access(Access::Password)],
        |p| super::network::rabbitmq(p, ""),
    )
    .ready(Ready::Logs("completed with")),
];

/// dockerd with everything of its own, in a private mount namespace so that it leaves nothing behind.
pub(super) fn dockerd(p: &Place, more: &str) -> Result<Command> {
    let mut c = p.line("/usr/bin/unshare --mount --propagation private /bin/sh -c")?;
    let script = "mount -t tmpfs run /run && mount -t tmpfs lib /var/lib/docker 2>/dev/null; mkdir -p /run/docker; exec dockerd \
                  --host=tcp://0.0.0.0:{port} --data-root={dir}/data --exec-root={dir}/exec --pidfile={dir}/pid --iptables=false \
                  --ip6tables=false --bridge=none --storage-driver=vfs --containerd-namespace=lab ";
    c.arg(p.fill(&format!("{script}{more}")));
    Ok(c)
}
