//! Default pairs against real servers: with the default pair, with another, with none, locked. Only the first is a finding, and
//! the server has seen exactly as many attempts as were reported.

use crate::checks::{admitted, check, identified, policy};
use lab::recipe::{Door, Place, Ready, Recipe};
use lab::{Kind, LabSpec};
use model::finding::{AttemptOutcome, CheckPolicy, CheckRun, CredentialAttempt, CredentialGrant, SideEffect, Verdict};
use model::{ApprovalId, Duration, Proto, Ts};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a case starts, and how its check has to end.
struct Case {
    recipe: Recipe,
    service: &'static str,
    product: &'static str,
    check: &'static str,
    verdict: Verdict,
    /// Attempts that are to be made: the pair nobody has, the default pair, the first again.
    attempts: usize,
    /// How many refusals the server has seen, as its own log says.
    refusals: Option<fn(&Place) -> usize>,
}

pub fn now() -> Ts {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Ts(i64::try_from(since.as_millis()).unwrap())
}

/// An approval in force for an hour.
pub fn approved(max_attempts: u8) -> CheckPolicy {
    let grant = CredentialGrant {
        approval: ApprovalId("00000000-0000-7000-8000-000000000001".parse().unwrap()),
        not_before: now().minus(Duration::minutes(1)),
        until: now().plus(Duration::hours(1)),
        max_attempts,
        spent: Vec::new(),
    };
    CheckPolicy { credentials: Some(grant), ..policy(SideEffect::Intrusive) }
}

fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}

pub const fn recipe(name: &'static str, doors: &'static [Door], command: fn(&Place) -> anyhow::Result<Command>) -> Recipe {
    Recipe::slow(name, doors, command)
}

const REDIS: &[Door] = &[Door::tcp("redis", 6379, &["redis"], &["Redis"])];

fn redis(p: &Place, more: &str) -> anyhow::Result<Command> {
    p.write("redis.conf", &format!("port {{port}}\nbind 0.0.0.0\nprotected-mode no\nsave \"\"\ndir {{dir}}\n{more}\n"))?;
    p.line("redis-server {dir}/redis.conf")
}

/// Redis keeps a list of refused attempts, each account once with how often.
fn redis_refusals(p: &Place) -> usize {
    let said = p.run("redis-cli -p {port} -a foobared --no-auth-warning acl log").unwrap();
    count(&said, "username")
}

const POSTGRESQL: &[Door] = &[Door::tcp("postgresql", 5432, &["postgresql"], &["PostgreSQL"])];

const AS_POSTGRES: &str = "/usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups /usr/lib/postgresql/15/bin/";

fn postgresql(p: &Place, method: &str) -> anyhow::Result<Command> {
    p.folder("data")?;
    p.give_to("postgres")?;
    p.run(&format!("{AS_POSTGRES}initdb -A trust --no-sync -D {{dir}}/data"))?;
    p.write("data/pg_hba.conf", &format!("local all all trust\nhost all all 0.0.0.0/0 {method}\n"))?;
    p.line(&format!("{AS_POSTGRES}postgres -D {{dir}}/data -k {{dir}}/data -h 0.0.0.0 -p {{port}} -c fsync=off"))
}

/// Gives the superuser that password, kept in that form.
fn password(p: &Place, form: &str, password: &str) -> anyhow::Result<()> {
    let statement = format!("SET password_encryption = '{form}'; ALTER ROLE postgres PASSWORD '{password}'");
    p.run_words(&["psql", "-h", "{dir}/data", "-p", "{port}", "-U", "postgres", "-c", &statement]).map(drop)
}

fn postgresql_refusals(p: &Place) -> usize {
    count(&p.log(), "password authentication failed")
}

pub const MARIADB: &[Door] = &[Door::tcp("mariadb", 3306, &["mysql"], &["MariaDB"])];

pub fn mariadb(p: &Place, init: &str) -> anyhow::Result<Command> {
    p.folder("tmp")?;
    p.write("init.sql", init)?;
    p.run(
        "mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve --user=root \
         --innodb-log-file-size=4M --tmpdir={dir}/tmp --datadir={dir}/data",
    )?;
    p.line(
        "mariadbd --no-defaults --user=root --innodb-log-file-size=4M --innodb-buffer-pool-size=8M --performance-schema=OFF \
         --skip-name-resolve --port={port} --datadir={dir}/data --init-file={dir}/init.sql --socket={dir}/socket --pid-file={dir}/pid \
         --general-log=1 --general-log-file={dir}/general.log",
    )
}

fn mariadb_refusals(p: &Place) -> usize {
    // The check for an empty password is refused as well, and is none of these.
    let text = std::fs::read_to_string(p.dir.join("general.log")).unwrap();
    count(&text, "Access denied for user")
        - text.lines().filter(|l| l.contains("Access denied") && l.contains("password: NO")).count()
}

const FTP: &[Door] = &[Door::tcp("proftpd", 21, &["ftp"], &["ProFTPD"])];

fn proftpd(p: &Place, password: &str) -> anyhow::Result<Command> {
    p.folder("modules")?;
    p.folder("home")?;
    let hash = p.run_words(&["openssl", "passwd", "-6", "-salt", "saltsalt", password])?;
    p.write("passwd", &format!("admin:{}:65534:65534::{{dir}}/home:/bin/false\n", hash.trim()))?;
    p.write("group", "nogroup:x:65534:\n")?;
    let text = "ServerType standalone\nDefaultAddress 0.0.0.0\nPort {port}\nUseIPv6 off\nUser nobody\nGroup nogroup\nUseReverseDNS off\nScoreboardFile none\n\
                PidFile {dir}/pid\nDelayEngine off\nRequireValidShell off\nSystemLog {dir}/proftpd.log\nWtmpLog off\nTransferLog none\n\
                AuthOrder mod_auth_file.c\nAuthUserFile {dir}/passwd\nAuthGroupFile {dir}/group\n";
    p.write("proftpd.conf", text)?;
    p.run("chmod 755 {dir}")?;
    p.run("chmod 600 {dir}/passwd {dir}/group")?;
    p.line("proftpd --nodaemon --config {dir}/proftpd.conf")
}

const INFLUXDB: &[Door] = &[Door::tcp("influxdb", 8086, &["influxdb"], &["InfluxDB"])];

fn influxdb(p: &Place, authenticates: bool) -> anyhow::Result<Command> {
    let text = "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n[meta]\n dir = \"{dir}/meta\"\n[data]\n dir = \"{dir}/data\"\n \
                wal-dir = \"{dir}/wal\"\n[http]\n bind-address = \":{port}\"\n";
    p.write("influx.conf", &format!("{text} auth-enabled = {authenticates}\n"))?;
    p.line("influxd -config {dir}/influx.conf")
}

fn influxdb_user(p: &Place, password: &str) -> anyhow::Result<()> {
    let body = format!("q=CREATE USER admin WITH PASSWORD '{password}' WITH ALL PRIVILEGES");
    p.run_words(&["curl", "-sf", "-XPOST", "http://127.0.0.1:{port}/query", "--data-urlencode", &body]).map(drop)
}

const SUPERVISOR: &[Door] = &[Door::tcp("supervisor", 9001, &["supervisor"], &["Supervisor"])];

fn supervisor(p: &Place, more: &str) -> anyhow::Result<Command> {
    let text = "[supervisord]\nnodaemon = true\nuser = root\nlogfile = {dir}/supervisord.log\npidfile = {dir}/pid\nchildlogdir = {dir}\n\
                [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
                [inet_http_server]\nport = 0.0.0.0:{port}\n";
    p.write("supervisord.conf", &format!("{text}{more}"))?;
    p.line("/usr/bin/supervisord -c {dir}/supervisord.conf")
}

const RABBITMQ: &[Door] = &[
    Door::tcp("rabbitmq-management", 15672, &["http"], &["RabbitMQ Management"]),
    Door::tcp("rabbitmq", 5672, &["amqp"], &["RabbitMQ"]),
];

const AMQP: &[Door] = &[Door::tcp("amqp", 5672, &["amqp"], &["RabbitMQ"])];

fn amqp(p: &Place, more: &str) -> anyhow::Result<Command> {
    broker(p, "[].\n", &format!("listeners.tcp.1 = 0.0.0.0:{{port}}\n{more}"))
}

fn rabbitmq(p: &Place, more: &str) -> anyhow::Result<Command> {
    let ports = "listeners.tcp.1 = 0.0.0.0:{port1}\nmanagement.tcp.port = {port}\n";
    broker(p, "[rabbitmq_management].\n", &format!("{ports}{more}"))
}

fn broker(p: &Place, plugins: &str, configuration: &str) -> anyhow::Result<Command> {
    p.folder("data")?;
    p.write("rabbitmq.conf", configuration)?;
    p.write("enabled_plugins", plugins)?;
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

fn rabbitmq_refusals(p: &Place) -> usize {
    count(&p.log(), "HTTP access denied: user")
}

fn amqp_refusals(p: &Place) -> usize {
    count(&p.log(), "PLAIN login refused")
}

const TOMCAT: &[Door] = &[Door::tcp("tomcat", 8080, &["http"], &["Apache Tomcat"])];

fn tomcat(p: &Place, password: &str) -> anyhow::Result<Command> {
    for folder in ["logs", "temp", "work", "webapps"] {
        p.folder(folder)?;
    }
    let realm = "<Realm className=\"org.apache.catalina.realm.LockOutRealm\">\
                 <Realm className=\"org.apache.catalina.realm.MemoryRealm\" pathname=\"conf/tomcat-users.xml\"/></Realm>";
    let text = format!(
        "<Server port=\"-1\"><Service name=\"Catalina\"><Connector port=\"{{port}}\" protocol=\"HTTP/1.1\"/>\
         <Engine name=\"Catalina\" defaultHost=\"localhost\">{realm}<Host name=\"localhost\" appBase=\"webapps\">\
         <Valve className=\"org.apache.catalina.valves.AccessLogValve\" directory=\"logs\" prefix=\"access\" suffix=\".log\" \
         rotatable=\"false\" buffered=\"false\" pattern=\"%s %{{Authorization}}i %r\"/></Host></Engine></Service></Server>\n"
    );
    p.write("conf/server.xml", &text)?;
    p.write(
        "conf/Catalina/localhost/manager.xml",
        "<Context docBase=\"/usr/share/tomcat10-admin/manager\" privileged=\"true\"/>\n",
    )?;
    p.write(
        "conf/tomcat-users.xml",
        &format!("<tomcat-users><user username=\"tomcat\" password=\"{password}\" roles=\"manager-gui,manager-status\"/></tomcat-users>\n"),
    )?;
    p.write(
        "conf/web.xml",
        "<web-app xmlns=\"https://jakarta.ee/xml/ns/jakartaee\" version=\"5.0\"><servlet><servlet-name>default</servlet-name>\
         <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class></servlet><servlet-mapping>\
         <servlet-name>default</servlet-name><url-pattern>/</url-pattern></servlet-mapping></web-app>\n",
    )?;
    let mut c = p.line("/usr/share/tomcat10/bin/catalina.sh run")?;
    c.env("CATALINA_HOME", "/usr/share/tomcat10").env("CATALINA_BASE", &p.dir).env("JAVA_OPTS", "-Xmx128m");
    Ok(c)
}

fn tomcat_refusals(p: &Place) -> usize {
    let text = std::fs::read_to_string(p.dir.join("logs/access.log")).unwrap_or_default();
    text.lines().filter(|l| l.starts_with("401 Basic") && !l.contains("?locked")).count()
}

const READY: Ready = Ready::Answers(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n", "HTTP/1.");

/// Quick to start and quick to ask.
static FAST: &[Case] = &[
    Case {
        recipe: recipe("redis-default", REDIS, |p| redis(p, "requirepass foobared")),
        service: "redis",
        product: "Redis",
        check: "redis-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: Some(redis_refusals),
    },
    Case {
        recipe: recipe("redis-changed", REDIS, |p| {
            redis(p, "user default on >foobared2 ~* +@all\nuser watcher on >foobared ~* +@all")
        }),
        service: "redis",
        product: "Redis",
        check: "redis-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: None,
    },
    Case {
        recipe: recipe("redis-open", REDIS, |p| redis(p, "")),
        service: "redis",
        product: "Redis",
        check: "redis-default-credential",
        verdict: Verdict::NotProved,
        attempts: 0,
        refusals: None,
    },
    Case {
        recipe: recipe("postgresql-default", POSTGRESQL, |p| postgresql(p, "scram-sha-256"))
            .ready(Ready::Logs("ready to accept connections"))
            .settle(|p| password(p, "scram-sha-256", "postgres")),
        service: "postgresql",
        product: "PostgreSQL",
        check: "postgresql-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: Some(postgresql_refusals),
    },
    Case {
        recipe: recipe("postgresql-changed", POSTGRESQL, |p| postgresql(p, "scram-sha-256"))
            .ready(Ready::Logs("ready to accept connections"))
            .settle(|p| password(p, "scram-sha-256", "postgres-1")),
        service: "postgresql",
        product: "PostgreSQL",
        check: "postgresql-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: Some(postgresql_refusals),
    },
    Case {
        recipe: recipe("postgresql-md5", POSTGRESQL, |p| postgresql(p, "md5"))
            .ready(Ready::Logs("ready to accept connections"))
            .settle(|p| password(p, "md5", "postgres")),
        service: "postgresql",
        product: "PostgreSQL",
        check: "postgresql-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: Some(postgresql_refusals),
    },
    Case {
        recipe: recipe("postgresql-open", POSTGRESQL, |p| postgresql(p, "trust"))
            .ready(Ready::Logs("ready to accept connections")),
        service: "postgresql",
        product: "PostgreSQL",
        check: "postgresql-default-credential",
        verdict: Verdict::NotProved,
        attempts: 0,
        refusals: Some(postgresql_refusals),
    },
    Case {
        recipe: recipe("postgresql-reject", POSTGRESQL, |p| postgresql(p, "reject"))
            .ready(Ready::Logs("ready to accept connections")),
        service: "postgresql",
        product: "PostgreSQL",
        check: "postgresql-default-credential",
        verdict: Verdict::RefusesUs,
        attempts: 1,
        refusals: None,
    },
    Case {
        recipe: recipe("supervisor-default", SUPERVISOR, |p| supervisor(p, "username = user\npassword = 123\n")),
        service: "supervisor",
        product: "Supervisor",
        check: "supervisor-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: None,
    },
    Case {
        recipe: recipe("supervisor-changed", SUPERVISOR, |p| supervisor(p, "username = user\npassword = 1234\n")),
        service: "supervisor",
        product: "Supervisor",
        check: "supervisor-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: None,
    },
];

/// A virtual machine to start, or a minute to wait between two attempts.
static SLOW: &[Case] = &[
    Case {
        recipe: recipe("mariadb-default", MARIADB, |p| {
            mariadb(p, "CREATE USER 'root'@'%' IDENTIFIED BY 'root';\nGRANT ALL ON *.* TO 'root'@'%';\n")
        })
        .ready(Ready::Logs("ready for connections")),
        service: "mysql",
        product: "MariaDB",
        check: "mysql-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: Some(mariadb_refusals),
    },
    Case {
        recipe: recipe("mariadb-changed", MARIADB, |p| mariadb(p, "CREATE USER 'root'@'%' IDENTIFIED BY 'root1';\n"))
            .ready(Ready::Logs("ready for connections")),
        service: "mysql",
        product: "MariaDB",
        check: "mysql-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: Some(mariadb_refusals),
    },
    Case {
        recipe: recipe("mariadb-locked", MARIADB, |p| mariadb(p, "CREATE USER 'root'@'%' IDENTIFIED BY 'root' ACCOUNT LOCK;\n"))
            .ready(Ready::Logs("ready for connections")),
        service: "mysql",
        product: "MariaDB",
        check: "mysql-default-credential",
        verdict: Verdict::Locked,
        attempts: 2,
        refusals: None,
    },
    Case {
        recipe: recipe("mariadb-expired", MARIADB, |p| {
            mariadb(
                p,
                "CREATE USER 'root'@'%' IDENTIFIED BY 'root' PASSWORD EXPIRE;\nSET GLOBAL disconnect_on_expired_password = ON;\n",
            )
        })
        .ready(Ready::Logs("ready for connections")),
        service: "mysql",
        product: "MariaDB",
        check: "mysql-default-credential",
        verdict: Verdict::Inconclusive,
        attempts: 2,
        refusals: None,
    },
    Case {
        recipe: recipe("proftpd-default", FTP, |p| proftpd(p, "wago")),
        service: "ftp",
        product: "ProFTPD",
        check: "ftp-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: None,
    },
    Case {
        recipe: recipe("proftpd-changed", FTP, |p| proftpd(p, "wago1")),
        service: "ftp",
        product: "ProFTPD",
        check: "ftp-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: None,
    },
    Case {
        recipe: recipe("influxdb-default", INFLUXDB, |p| influxdb(p, true)).ready(READY).settle(|p| influxdb_user(p, "admin")),
        service: "influxdb",
        product: "InfluxDB",
        check: "influxdb-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: None,
    },
    Case {
        recipe: recipe("influxdb-changed", INFLUXDB, |p| influxdb(p, true)).ready(READY).settle(|p| influxdb_user(p, "admin1")),
        service: "influxdb",
        product: "InfluxDB",
        check: "influxdb-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: None,
    },
    Case {
        recipe: recipe("influxdb-open", INFLUXDB, |p| influxdb(p, false)).ready(READY),
        service: "influxdb",
        product: "InfluxDB",
        check: "influxdb-default-credential",
        verdict: Verdict::NotProved,
        attempts: 0,
        refusals: None,
    },
    Case {
        recipe: recipe("rabbitmq-default", RABBITMQ, |p| rabbitmq(p, "loopback_users = none\n"))
            .ready(Ready::Logs("completed with")),
        service: "http",
        product: "RabbitMQ Management",
        check: "rabbitmq-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: Some(rabbitmq_refusals),
    },
    Case {
        recipe: recipe("rabbitmq-changed", RABBITMQ, |p| rabbitmq(p, "loopback_users = none\ndefault_pass = guest1\n"))
            .ready(Ready::Logs("completed with")),
        service: "http",
        product: "RabbitMQ Management",
        check: "rabbitmq-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: Some(rabbitmq_refusals),
    },
    Case {
        recipe: recipe("rabbitmq-loopback-only", RABBITMQ, |p| rabbitmq(p, "")).ready(Ready::Logs("completed with")),
        service: "http",
        product: "RabbitMQ Management",
        check: "rabbitmq-default-credential",
        verdict: Verdict::RefusesUs,
        attempts: 2,
        refusals: None,
    },
    Case {
        recipe: recipe("amqp-default", AMQP, |p| amqp(p, "loopback_users = none\n")).ready(Ready::Logs("completed with")),
        service: "amqp",
        product: "RabbitMQ",
        check: "amqp-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: Some(amqp_refusals),
    },
    Case {
        recipe: recipe("amqp-changed", AMQP, |p| amqp(p, "loopback_users = none\ndefault_pass = guest1\n"))
            .ready(Ready::Logs("completed with")),
        service: "amqp",
        product: "RabbitMQ",
        check: "amqp-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: Some(amqp_refusals),
    },
    Case {
        recipe: recipe("tomcat-default", TOMCAT, |p| tomcat(p, "s3cret")).ready(READY),
        service: "http",
        product: "Apache Tomcat",
        check: "tomcat-manager-default-credential",
        verdict: Verdict::Proved,
        attempts: 3,
        refusals: Some(tomcat_refusals),
    },
    Case {
        recipe: recipe("tomcat-changed", TOMCAT, |p| tomcat(p, "s3cret1")).ready(READY),
        service: "http",
        product: "Apache Tomcat",
        check: "tomcat-manager-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: Some(tomcat_refusals),
    },
    Case {
        // Five wrong passwords have locked the account; the right one is refused like any other.
        recipe: recipe("tomcat-locked", TOMCAT, |p| tomcat(p, "s3cret")).ready(READY).settle(|p| {
            for n in 0..6 {
                let url = format!("http://127.0.0.1:{{port}}/manager/status?locked{n}");
                p.run_words(&["curl", "-s", "-o", "/dev/null", "-u", "tomcat:wrong", &url])?;
            }
            Ok(())
        }),
        service: "http",
        product: "Apache Tomcat",
        check: "tomcat-manager-default-credential",
        verdict: Verdict::NotProved,
        attempts: 2,
        refusals: Some(tomcat_refusals),
    },
];

fn hold(cases: &'static [Case], first_host: u8) {
    let only = std::env::var("RECIPE").ok();
    let mut wrong = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let name = case.recipe.name;
        if only.as_ref().is_some_and(|only| !only.split(',').any(|o| o == name)) {
            continue;
        }
        // An address of its own: the attempts at another case's server would count for this one's.
        let host = first_host + u8::try_from(i).unwrap();
        let lab = LabSpec::new().host("it", host, Kind::Refusing).start().unwrap();
        let cooked = match lab.host("it").cook(&case.recipe, &case.recipe.usual_ports()) {
            Ok(cooked) => cooked,
            Err(e) => {
                wrong.push(format!("{name} does not start: {e:#}"));
                continue;
            }
        };
        let endpoint = admitted(cooked.place.address.into(), cooked.place.ports[0], Proto::Tcp);
        let found = identified(endpoint.get(), case.service, Some(case.product), false);
        let runs = check(&lab, endpoint, &found, &approved(2));
        let Some(run) = runs.iter().find(|r| r.check == case.check) else {
            wrong.push(format!("{name}: {} did not run: {runs:?}", case.check));
            continue;
        };
        let tried: Vec<String> = run.attempts.iter().map(|a| format!("{} {}", a.pair, a.outcome)).collect();
        println!("{name:<24} {}: {} {} {tried:?}", run.check, run.verdict, run.reason.as_deref().unwrap_or_default());
        if run.verdict != case.verdict || run.attempts.len() != case.attempts {
            wrong.push(format!("{name}: expected {} after {} attempts, got {run:?}", case.verdict, case.attempts));
        }
        if let Some(refusals) = case.refusals {
            let reported = run.attempts.iter().filter(|a| matches!(a.outcome, AttemptOutcome::Rejected)).count();
            let mut seen = refusals(&cooked.place);
            // A line may be written a moment after its answer.
            for _ in 0..30 {
                if seen != reported {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    seen = refusals(&cooked.place);
                }
            }
            if seen != reported {
                wrong.push(format!("{name}: {reported} refusals reported, {seen} in the server's log"));
            }
        }
        let written = serde_json::to_string(&runs).unwrap();
        for secret in ["foobared", "wago\"", ":123", "Basic "] {
            assert!(!written.contains(secret), "{name}: a secret in {written}");
        }
        // Without an approval in force, or beyond it, nothing is tried at all.
        for policy in [
            policy(SideEffect::Intrusive),
            expired(approved(2)),
            CheckPolicy { ceiling: Some(SideEffect::Session), ..approved(2) },
        ] {
            let quiet = check(&lab, endpoint, &found, &policy);
            let tried = |r: &CheckRun| r.attempts.iter().any(|a| a.pair != CredentialAttempt::EMPTY_PASSWORD);
            assert!(quiet.iter().all(|r| !tried(r) && r.check != case.check), "{name}: {quiet:?}");
        }
        // And a second time within the minute, the node keeps to its own count although the server has not heard of it.
        if case.attempts > 1 && run.verdict != Verdict::RefusesUs {
            let again = check(&lab, endpoint, &found, &approved(1));
            let again = again.iter().find(|r| r.check == case.check).unwrap();
            assert!(again.attempts.is_empty() && again.verdict == Verdict::Inconclusive, "{name}: {again:?}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn expired(mut policy: CheckPolicy) -> CheckPolicy {
    if let Some(grant) = &mut policy.credentials {
        grant.until = now().minus(Duration::secs(1));
    }
    policy
}

#[test]
fn only_a_default_pair_between_two_refusals_is_a_finding() {
    hold(FAST, 20);
}

#[test]
#[ignore = "slow: starts virtual machines, and waits a minute between two attempts"]
fn default_pairs_of_slow_servers_are_found_and_no_others() {
    hold(SLOW, 60);
}
