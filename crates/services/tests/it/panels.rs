//! Front pages from a real nginx: in the clear, inside TLS, over redirects that stay and redirects that leave.

use crate::{loopback, servers};
use model::service::Panel;
use services::{Budget, Unpaced, fetch_panel};

async fn panel(port: u16) -> Option<Panel> {
    fetch_panel(loopback(port), &Budget::default(), &Unpaced).await.panel
}

#[tokio::test]
async fn a_front_page_in_the_clear() {
    let server = servers::nginx(
        "listen 127.0.0.1:{port}; default_type text/html; return 200 '<html><title>Grafana</title><script>window.grafanaBootData = {}</script>';",
    );
    let panel = panel(server.port).await.unwrap();
    assert_eq!((panel.scheme.as_str(), panel.status, panel.title.as_deref()), ("http", 200, Some("Grafana")));
    assert_eq!(panel.product.as_deref(), Some("Grafana"));
    assert!(panel.server.unwrap().starts_with("nginx/"));
    assert_eq!(panel.location, None);
}

#[tokio::test]
async fn tls_on_an_odd_port_is_found_after_the_complaint() {
    let server =
        servers::nginx("listen 127.0.0.1:{port} ssl; default_type text/html; return 200 '<title>登录 &amp; go</title>';");
    let panel = panel(server.port).await.unwrap();
    assert_eq!((panel.scheme.as_str(), panel.status, panel.title.as_deref()), ("https", 200, Some("登录 & go")));
}

#[tokio::test]
async fn redirects_are_followed_on_the_endpoint_only() {
    let server = servers::nginx(
        "listen 127.0.0.1:{port}; default_type text/html; absolute_redirect off; \
         location = / { return 302 /login?next=%2Fsecret; } location = /login { return 301 http://127.0.0.1:{port}/ui/; } \
         location = /ui/ { return 200 '<title>Console</title>'; }",
    );
    let panel_here = panel(server.port).await.unwrap();
    assert_eq!((panel_here.status, panel_here.title.as_deref()), (200, Some("Console")));
    assert_eq!(panel_here.location.as_deref(), Some("/login"), "the first redirect, without its query");

    let leaving = servers::nginx("listen 127.0.0.1:{port}; return 302 http://127.0.0.2:{port}/;");
    let panel = panel(leaving.port).await.unwrap();
    assert_eq!(panel.status, 302);
    assert!(panel.location.unwrap().starts_with("http://127.0.0.2:"));
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let server = servers::nginx(
        "listen 127.0.0.1:{port}; absolute_redirect off; location = /a { return 302 /b; } location / { return 302 /a; }",
    );
    assert_eq!(panel(server.port).await.unwrap().status, 302);
}

#[tokio::test]
async fn what_is_no_web_server_has_no_front_page() {
    assert_eq!(panel(servers::sshd().port).await, None);
    assert_eq!(panel(servers::free_port()).await, None);
    assert_eq!(panel(9100).await, None);
}

/// Product, version and number of tokens of a console.
async fn console(port: u16) -> (Option<String>, Option<String>, usize) {
    let panel = panel(port).await.expect("speaks HTTP");
    (panel.product, panel.version, panel.evidence.len())
}

#[tokio::test]
async fn real_consoles_are_named_by_two_tokens_on_ports_that_promise_nothing() {
    let starts_with = |version: &Option<String>, head: &str| version.as_deref().is_some_and(|v| v.starts_with(head));
    let server = servers::prometheus();
    let (product, version, tokens) = console(server.port).await;
    assert!(
        product.as_deref() == Some("Prometheus") && starts_with(&version, "2.") && tokens >= 2,
        "{product:?} {version:?} {tokens}"
    );
    let server = servers::alertmanager();
    let (product, version, tokens) = console(server.port).await;
    assert!(
        product.as_deref() == Some("Alertmanager") && starts_with(&version, "0.") && tokens >= 2,
        "{product:?} {version:?} {tokens}"
    );
    let server = servers::supervisord();
    let (product, _, tokens) = console(server.port).await;
    assert!(product.as_deref() == Some("Supervisor") && tokens >= 2, "{product:?} {tokens}");
}

#[tokio::test]
#[ignore = "slow: starts a virtual machine, which only make test-slow installs"]
async fn a_real_console_in_java_is_named_by_two_tokens() {
    let server = servers::h2_console();
    let (product, _, tokens) = console(server.port).await;
    assert!(product.as_deref() == Some("H2 Console") && tokens >= 2, "{product:?} {tokens}");
}

#[tokio::test]
async fn a_site_that_shows_the_same_everywhere_is_no_console() {
    // What an actuator answers, at every path; and a front page that makes it worth asking.
    let everywhere = servers::nginx(
        "listen 127.0.0.1:{port}; default_type application/vnd.spring-boot.actuator.v3+json; \
         location / { return 200 '{\"_links\":{\"self\":{\"href\":\"http://x/actuator\"}},\"path\":\"/\"}'; }",
    );
    let seen = panel(everywhere.port).await.unwrap();
    assert_eq!((seen.product, seen.evidence.len()), (None, 0));
    // The same only where an actuator has it.
    let actuator = servers::nginx(
        "listen 127.0.0.1:{port}; default_type application/vnd.spring-boot.actuator.v3+json; \
         location / { return 404 '{\"status\":404,\"error\":\"Not Found\",\"path\":\"/\"}'; } \
         location = /actuator { return 200 '{\"_links\":{\"self\":{\"href\":\"http://x/actuator\"}}}'; }",
    );
    let seen = panel(actuator.port).await.unwrap();
    assert_eq!((seen.product.as_deref(), seen.path.as_deref()), (Some("Spring Boot Actuator"), Some("/actuator")));
    assert_eq!((seen.status, seen.evidence.len()), (404, 2), "the front page's status stays");
}

#[tokio::test]
async fn icon_and_technologies_are_read_from_the_page() {
    let server = servers::nginx(
        "listen 127.0.0.1:{port}; default_type text/html; add_header X-Powered-By PHP/8.2.7; \
         location = / { return 200 '<link rel=icon href=i.png><script src=/js/jquery-3.6.0.min.js></script>'; } \
         location = /i.png { default_type image/png; return 200 portreeve; }",
    );
    let seen = panel(server.port).await.unwrap();
    assert_eq!(seen.favicon, Some(-939_513_348));
    assert_eq!(seen.technologies, ["PHP 8.2.7", "jQuery 3.6.0"]);
}
