//! Every service that runs here, on a port that promises nothing: what the rules say is what the package is.

use crate::servers::{self, Server};
use crate::{identify, line};
use model::service::Identity;
use model::{Reason, State};

/// Identifies a running server; the line must begin with what is expected, and the port must have been seen open.
async fn expect(server: &Server, expected: &str) -> services::Identified {
    let result = identify(server.port).await;
    let said = line(&result.identification);
    assert!(said.starts_with(expected), "expected `{expected}`, got `{said}`: {:?}", result.identification);
    let seen = result.observation.as_ref().unwrap();
    assert_eq!((seen.state, seen.reason), (State::Open, Reason::Connected));
    assert!(result.identification.evidence.is_some() && result.identification.banner.is_some(), "{:?}", result.identification);
    result
}

#[tokio::test]
async fn redis_on_an_odd_port_is_redis_and_never_hears_http() {
    let server = servers::redis(&[]);
    let result = expect(&server, "redis Redis 7.").await;
    assert_eq!(result.identification.evidence.as_deref(), Some("redis-info"));
    let log = std::fs::read_to_string(server.dir.path().join("log")).unwrap();
    assert!(!log.contains("SECURITY ATTACK"), "{log}");
}

#[tokio::test]
async fn redis_behind_a_password_is_still_redis() {
    expect(&servers::redis(&["--requirepass", "secret"]), "redis").await;
}

#[tokio::test]
async fn memcached_on_an_odd_port_is_memcached() {
    expect(&servers::memcached(), "memcached memcached 1.").await;
}

#[tokio::test]
async fn nats_on_an_odd_port_is_nats_and_its_banner_holds_no_address() {
    let result = expect(&servers::nats(), "nats NATS 2.").await;
    assert!(!result.identification.banner.unwrap().contains("127.0.0.1"));
}

#[tokio::test]
async fn openssh_keeps_its_distribution_suffix() {
    let result = expect(&servers::sshd(), "ssh OpenSSH ").await;
    let version = result.identification.service.unwrap().version.unwrap();
    assert!(version.contains("Debian-"), "{version}");
}

#[tokio::test]
async fn dropbear_is_not_openssh() {
    expect(&servers::dropbear(), "ssh Dropbear 20").await;
}

#[tokio::test]
async fn vsftpd_on_an_odd_port_is_ftp() {
    expect(&servers::vsftpd(), "ftp vsFTPd 3.").await;
}

#[tokio::test]
async fn rsync_on_an_odd_port_is_rsync() {
    expect(&servers::rsyncd(), "rsync rsync").await;
}

#[tokio::test]
async fn an_smtp_server_on_an_odd_port_is_smtp() {
    expect(&servers::aiosmtpd(), "smtp aiosmtpd 1.").await;
}

#[tokio::test]
async fn mariadb_on_an_odd_port_is_mariadb_without_its_fake_prefix() {
    let result = expect(&servers::mariadb(), "mysql MariaDB 1").await;
    let version = result.identification.service.unwrap().version.unwrap();
    assert!(version.starts_with("10.") || version.starts_with("11."), "{version}");
    assert!(!version.starts_with("5.5.5"), "{version}");
}

#[tokio::test]
async fn postgresql_is_recognised_however_it_answers() {
    let mut cluster = servers::postgresql_cluster();
    for (hba, expected) in [
        ("host all all 127.0.0.1/32 trust\n", "postgresql PostgreSQL 1"),
        ("host all all 127.0.0.1/32 scram-sha-256\n", "postgresql PostgreSQL"),
        ("host all all 127.0.0.1/32 md5\n", "postgresql PostgreSQL"),
        ("local all all trust\n", "refuses-us postgresql PostgreSQL"),
    ] {
        let server = servers::postgresql(cluster, hba);
        let result = expect(&server, expected).await;
        assert_eq!(result.identification.evidence.as_deref(), Some("postgresql-startup"));
        cluster = server.stop();
    }
}

#[tokio::test]
async fn nginx_in_the_clear_is_nginx() {
    let result = expect(&servers::nginx("listen 127.0.0.1:{port}; return 200 hello;"), "http nginx 1.").await;
    assert_eq!(result.identification.service.unwrap().tls, None);
}

#[tokio::test]
async fn tls_on_an_odd_port_is_seen_through() {
    let server = servers::nginx("listen 127.0.0.1:{port} ssl; return 200 hello;");
    let result = expect(&server, "tls http nginx 1.").await;
    let tls = result.identification.service.unwrap().tls.unwrap();
    assert_eq!(tls.subject, "CN=panel.example,O=Example\\, Ltd,C=CN");
    assert_eq!(tls.issuer, tls.subject);
    assert!(tls.self_signed);
    assert_eq!(tls.names, ["panel.example", "127.0.0.1"]);
    assert!(tls.version == "TLSv1.3" && tls.alpn.as_deref() == Some("http/1.1"), "{tls:?}");
    let month = tls.not_after.since(tls.not_before);
    assert_eq!(month, model::Duration::days(30));
    // What openssl says of the same certificate.
    let out = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(server.dir.path().join("cert.pem"))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap().to_lowercase().replace(':', "");
    assert!(said.trim().ends_with(&tls.sha256), "{said} {}", tls.sha256);
}

#[tokio::test]
async fn a_service_inside_tls_is_identified_inside() {
    let redis = servers::redis(&[]);
    expect(&servers::stunnel(redis.port), "tls redis Redis 7.").await;
    let ssh = servers::sshd();
    expect(&servers::stunnel(ssh.port), "tls ssh OpenSSH").await;
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_says_so() {
    for version in ["-tls1_3", "-tls1_2"] {
        let server = servers::wants_client_certificate(version);
        let result = identify(server.port).await.identification;
        assert_eq!(result.identity, Identity::TlsClientCertRequired, "{version}: {result:?}");
        let tls = result.service.as_ref().and_then(|s| s.tls.as_ref());
        assert_eq!(tls.map(|t| t.self_signed), Some(true), "{version}: {result:?}");
        assert!(result.evidence.as_deref().unwrap_or_default().starts_with("tls-"), "{version}: {result:?}");
    }
}

#[tokio::test]
async fn a_web_server_that_wants_a_client_certificate_says_so_on_its_page() {
    let server = servers::nginx(
        "listen 127.0.0.1:{port} ssl; ssl_client_certificate {dir}/cert.pem; ssl_verify_client on; return 200 hello;",
    );
    let result = identify(server.port).await.identification;
    assert_eq!(result.identity, Identity::TlsClientCertRequired, "{result:?}");
    assert_eq!(result.service.unwrap().product.as_deref(), Some("nginx"));
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_to() {
    let server = servers::nginx("listen 127.0.0.1:{port} http2; return 200 hello;");
    let result = identify(server.port).await.identification;
    assert_eq!(result.evidence.as_deref(), Some("http2-get"), "{result:?}");
    assert!(line(&result).starts_with("http nginx 1."), "{result:?}");
}

#[tokio::test]
async fn the_slow_lane_lists_the_versions_and_protocols_of_tls() {
    let server = servers::nginx(
        "listen 127.0.0.1:{port} ssl http2; ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; ssl_ciphers ALL:@SECLEVEL=0; return 200 hello;",
    );
    let quick = identify(server.port).await.identification.service.unwrap().tls.unwrap();
    assert!(quick.versions.is_empty() && quick.alpns.is_empty(), "not in the quick look: {quick:?}");
    let slow = services::identify(crate::loopback(server.port), &services::Budget::thorough(), &services::Unpaced).await;
    let tls = slow.identification.service.unwrap().tls.unwrap();
    assert_eq!(tls.versions, ["TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"]);
    assert_eq!(tls.weak_versions().collect::<Vec<_>>(), ["TLSv1.0", "TLSv1.1"]);
    assert_eq!(tls.alpns[..2], ["h2", "http/1.1"]);
    assert_eq!((tls.sha256_named, tls.key.is_some()), (None, true), "it has one certificate for every name");
    assert!(slow.identification.thorough && slow.identification.tried.contains(&"tls-survey".to_owned()));
}

#[tokio::test]
async fn a_server_of_old_tls_only_is_seen_with_its_certificate() {
    for (option, version) in [("-tls1", "TLSv1.0"), ("-tls1_1", "TLSv1.1")] {
        let server = servers::old_tls(option);
        let result = identify(server.port).await.identification;
        let tls = result.service.as_ref().and_then(|s| s.tls.as_ref());
        assert_eq!(tls.map(|t| t.version.as_str()), Some(version), "{result:?}");
        assert_eq!(tls.map(|t| t.subject.as_str()), Some("CN=panel.example,O=Example\\, Ltd,C=CN"), "{result:?}");
        assert_eq!(result.identity, Identity::ProtocolOnly);
    }
}
