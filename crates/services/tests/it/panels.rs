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
