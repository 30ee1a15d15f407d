//! Databases, caches and key-value stores, open as careless operators leave them. Those behind passwords are in `secured`.

use super::{Access, Door, Place, Ready, Recipe, Version};
use anyhow::Result;

const REDIS: Version = Version::Package("redis-server");

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::fast("redis", &[Door::tcp("redis", 6379, &["redis"], &["Redis"]).version(REDIS).access(Access::Open)], |p| {
        redis(p, "")
    })
    .settle(|p| p.run("redis-cli -p {port} set greeting hello").map(drop))
    .state(redis_state),
    Recipe::fast(
        "memcached",
        &[Door::tcp("memcached", 11211, &["memcached", "memcache"], &["Memcached"])
            .version(Version::Package("memcached"))
            .access(Access::Open)],
        |p| p.line("memcached -u nobody -p {port} -U 0 -m 16"),
    )
    .state(|p| {
        let said = String::from_utf8_lossy(&p.ask(p.ports[0], b"stats\r\nquit\r\n")?).into_owned();
        let kept = ["cmd_set", "cmd_flush", "curr_items", "total_items", "cmd_touch", "delete_hits"];
        Ok(said.lines().filter(|l| kept.iter().any(|k| l.contains(&format!("STAT {k} ")))).collect::<Vec<_>>().join("\n"))
    }),
    Recipe::fast(
        "mariadb",
        &[Door::tcp("mariadb", 3306, &["mysql"], &["MariaDB"]).version(Version::Package("mariadb-server")).access(Access::Open)],
        |p| mariadb(p, "CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY '';\nGRANT ALL ON *.* TO 'root'@'%';\n"),
    )
    .ready(Ready::Logs("ready for connections"))
    .state(mariadb_state),
    Recipe::fast(
        "postgresql",
        &[Door::tcp("postgresql", 5432, &["postgresql"], &["PostgreSQL"])
            .version(Version::Package("postgresql-15"))
            .access(Access::Open)],
        |p| postgresql(p, "trust"),
    )
    .ready(Ready::Logs("ready to accept connections"))
    .state(postgresql_state),
    Recipe::fast(
        "etcd",
        &[
            Door::tcp("etcd", 2379, &["etcd"], &["etcd"]).version(Version::Package("etcd-server")).access(Access::Open),
            Door::tcp("etcd-peer", 2380, &["etcd", "etcd-peer"], &["etcd"]).version(Version::Package("etcd-server")),
        ],
        |p| {
            p.line(
                "etcd --data-dir {dir}/data --listen-client-urls http://0.0.0.0:{port} --advertise-client-urls \
                 http://{address}:{port} --listen-peer-urls http://0.0.0.0:{port1} --initial-advertise-peer-urls \
                 http://{address}:{port1} --initial-cluster default=http://{address}:{port1}",
            )
        },
    )
    .ready(Ready::Logs("ready to serve client requests"))
    .settle(|p| p.run_words(&["etcdctl", "--endpoints", "127.0.0.1:{port}", "put", "greeting", "hello"]).map(drop))
    .state(|p| {
        let said = p.run_words(&["etcdctl", "--endpoints", "127.0.0.1:{port}", "get", "", "--prefix", "-w", "json"])?;
        let json: serde_json::Value = serde_json::from_str(&said)?;
        Ok(format!("revision {} keys {}", json["header"]["revision"], json["count"]))
    }),
    Recipe::fast(
        "influxdb",
        &[Door::tcp("influxdb", 8086, &["influxdb", "http"], &["InfluxDB"])
            .version(Version::Package("influxdb"))
            .access(Access::Open)],
        |p| {
            let text = "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n[meta]\n dir = \"{dir}/meta\"\n[data]\n dir = \"{dir}/data\"\n \
                        wal-dir = \"{dir}/wal\"\n[http]\n bind-address = \":{port}\"\n";
            p.write("influx.conf", text)?;
            p.line("influxd -config {dir}/influx.conf")
        },
    ),
    Recipe::slow(
        "beanstalkd",
        &[Door::tcp("beanstalkd", 11300, &["beanstalk", "beanstalkd"], &["Beanstalk", "beanstalkd"])
            .version(Version::Package("beanstalkd"))],
        |p| p.line("beanstalkd -l 0.0.0.0 -p {port}"),
    ),
    Recipe::slow(
        "gearmand",
        &[Door::tcp("gearmand", 4730, &["gearman"], &["Gearman", "gearmand"]).version(Version::Package("gearman-job-server"))],
        |p| p.line("gearmand -L 0.0.0.0 -p {port} -l stderr"),
    ),
    Recipe::slow("firebird", &[Door::tcp("firebird", 3050, &["firebird"], &["Firebird"])], |p| {
        p.write(
            "firebird.conf",
            "RemoteServicePort = {port}\nRemoteBindAddress = 0.0.0.0\nRootDirectory = /usr/share/firebird3.0/\n",
        )?;
        let mut c = p.line("/usr/sbin/firebird")?;
        // Its only way to another port: an environment of its own over the same installation.
        c.env("FIREBIRD", &p.dir).env("FIREBIRD_LOCK", &p.dir).env("FIREBIRD_TMP", &p.dir);
        Ok(c)
    }),
    Recipe::slow(
        "pgbouncer",
        // It is asked before it asks its PostgreSQL, which is not there: whoever says PostgreSQL has guessed.
        &[Door::tcp("pgbouncer", 6432, &["postgresql", "pgbouncer"], &["PgBouncer"])],
        |p| {
            let text = "[databases]\nshop = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 0.0.0.0\nlisten_port = {port}\n\
                        auth_type = md5\nauth_file = {dir}/users\nunix_socket_dir =\n";
            p.write("pgbouncer.ini", text)?;
            p.write("users", "\"app\" \"not-a-secret-of-anything-real\"\n")?;
            p.give_to("postgres")?;
            p.line("/usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups /usr/sbin/pgbouncer {dir}/pgbouncer.ini")
        },
    ),
];

/// Redis with more lines of configuration.
pub(super) fn redis(p: &Place, more: &str) -> Result<std::process::Command> {
    let text = "port {port}\nbind 0.0.0.0 ::\nprotected-mode no\nsave \"\"\nappendonly no\ndir {dir}\n";
    p.write("redis.conf", &format!("{text}{more}\n"))?;
    p.line("redis-server {dir}/redis.conf")
}

/// What is kept, how often it was changed, and which commands that could have were called.
fn redis_state(p: &Place) -> Result<String> {
    let said = p.run("redis-cli -p {port} info everything")?;
    let told = |l: &&str| {
        ["db0:", "rdb_changes_since_last_save:", "expired_keys:", "evicted_keys:", "role:"].iter().any(|k| l.starts_with(k))
            || l.starts_with("cmdstat_") && !["info", "ping", "command", "auth", "hello", "set:"].iter().any(|k| l.contains(k))
    };
    let called = |l: &str| l.split_once(",usec").map_or(l.to_owned(), |(name, _)| name.to_owned());
    Ok(said.lines().filter(told).map(called).collect::<Vec<_>>().join("\n"))
}

/// MariaDB with these statements run at its start, and every statement logged.
pub(super) fn mariadb(p: &Place, init: &str) -> Result<std::process::Command> {
    p.folder("tmp")?;
    p.write("init.sql", init)?;
    p.run(
        "mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve --user=root \
         --innodb-log-file-size=4M --tmpdir={dir}/tmp --datadir={dir}/data",
    )?;
    p.line(
        "mariadbd --no-defaults --user=root --innodb-log-file-size=4M --innodb-buffer-pool-size=8M --performance-schema=OFF \
         --skip-name-resolve --port={port} --datadir={dir}/data --init-file={dir}/init.sql --socket={dir}/socket \
         --pid-file={dir}/pid --general-log=1 --general-log-file={dir}/general.log",
    )
}

/// Every statement a client sent but those that only ask who one is.
fn mariadb_state(p: &Place) -> Result<String> {
    let text = std::fs::read_to_string(p.dir.join("general.log"))?;
    let statements = text.lines().filter(|l| l.contains("Query\t") || l.contains(" Query ") || l.contains("Execute\t"));
    let harmless = |l: &&str| !l.to_ascii_lowercase().contains("select current_user()") && !l.contains("SELECT @@version");
    Ok(statements.filter(harmless).collect::<Vec<_>>().join("\n"))
}

/// PostgreSQL that authenticates by this method, with every statement logged.
pub(super) fn postgresql(p: &Place, method: &str) -> Result<std::process::Command> {
    crate::postgres::prepare(&p.dir, method)?;
    let mut c = crate::postgres::command(&p.dir, p.ports[0], "*")?;
    c.args(["-c", "log_statement=all", "-c", "log_line_prefix="]);
    Ok(c)
}

fn postgresql_state(p: &Place) -> Result<String> {
    let text = p.log();
    Ok(text.lines().filter(|l| l.contains("statement:") || l.contains("execute ")).collect::<Vec<_>>().join("\n"))
}
