//! Servers whose account still has the password that their maker or their manual gave it. Those where it was changed are in
//! `secured`, those without any are in `stores` and `admin`.

use super::stores::{mariadb, postgresql, redis};
use super::{Access, Door, Ready, Recipe, Version};

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::fast("redis-pair", &[Door::tcp("redis-pair", 6379, &["redis"], &["", "Redis"]).access(Access::DefaultPair)], |p| {
        redis(p, "requirepass foobared")
    }),
    Recipe::fast(
        "mariadb-pair",
        &[Door::tcp("mariadb-pair", 3306, &["mysql"], &["MariaDB"])
            .version(Version::Package("mariadb-server"))
            .access(Access::DefaultPair)],
        |p| mariadb(p, "CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY 'root';\n"),
    )
    .ready(Ready::Logs("ready for connections")),
    Recipe::fast(
        "postgresql-pair",
        &[Door::tcp("postgresql-pair", 5432, &["postgresql"], &["PostgreSQL"]).access(Access::DefaultPair)],
        |p| postgresql(p, "scram-sha-256"),
    )
    .ready(Ready::Logs("ready to accept connections"))
    .settle(|p| {
        // By the socket, which trusts: over the network everybody is asked for the password that is being set here.
        let sql = "ALTER USER postgres PASSWORD 'postgres'";
        p.run_words(&["psql", "-X", "-q", "-h", "{dir}/data", "-p", "{port}", "-U", "postgres", "-d", "postgres", "-c", sql]).map(drop)
    }),
    Recipe::slow(
        "supervisor-pair",
        &[Door::tcp("supervisor-pair", 9001, &["http", "supervisor"], &["Supervisor", "supervisord"])
            .beneath(&["Medusa"])
            .access(Access::DefaultPair)],
        |p| super::admin::supervisor(p, "username = user\npassword = 123\n"),
    ),
    Recipe::slow(
        "influxdb-pair",
        &[Door::tcp("influxdb-pair", 8086, &["influxdb", "http"], &["InfluxDB"])
            .version(Version::Package("influxdb"))
            .access(Access::DefaultPair)],
        |p| {
            let text = "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n[meta]\n dir = \"{dir}/meta\"\n[data]\n dir = \"{dir}/data\"\n \
                        wal-dir = \"{dir}/wal\"\n[http]\n bind-address = \":{port}\"\n auth-enabled = true\n";
            p.write("influx.conf", text)?;
            p.line("influxd -config {dir}/influx.conf")
        },
    )
    .settle(|p| {
        let body = "q=CREATE USER admin WITH PASSWORD 'admin' WITH ALL PRIVILEGES";
        p.run_words(&["curl", "-sf", "-XPOST", "http://127.0.0.1:{port}/query", "--data-urlencode", body]).map(drop)
    }),
    Recipe::slow(
        "tomcat-manager-pair",
        &[Door::tcp("tomcat-manager-pair", 8080, &["http", "http-proxy"], &["Apache Tomcat", "Tomcat"])
            .version(Version::Package("tomcat10"))
            .access(Access::DefaultPair)],
        |p| super::web::tomcat_manager(p, "s3cret"),
    )
    .ready(Ready::Answers(b"GET / HTTP/1.0\r\n\r\n", "HTTP/1.")),
    Recipe::slow(
        "tomcat-manager-changed",
        &[Door::tcp("tomcat-manager-changed", 8080, &["http", "http-proxy"], &["Apache Tomcat", "Tomcat"])
            .version(Version::Package("tomcat10"))
            .access(Access::Password)],
        |p| super::web::tomcat_manager(p, "not-a-secret-of-anything-real"),
    )
    .ready(Ready::Answers(b"GET / HTTP/1.0\r\n\r\n", "HTTP/1.")),
    Recipe::slow(
        "tomcat-manager-locked",
        // The account is locked before anybody of ours comes; its password would be the manual's.
        &[Door::tcp("tomcat-manager-locked", 8080, &["http", "http-proxy"], &["Apache Tomcat", "Tomcat"])
            .version(Version::Package("tomcat10"))
            .access(Access::Password)],
        |p| super::web::tomcat_manager(p, "s3cret"),
    )
    .ready(Ready::Answers(b"GET / HTTP/1.0\r\n\r\n", "HTTP/1."))
    .settle(|p| {
        for _ in 0..6 {
            p.run_words(&["curl", "-s", "-o", "/dev/null", "-u", "tomcat:wrong", "http://127.0.0.1:{port}/manager/html"])?;
        }
        Ok(())
    }),
];
