//! A lab to try things in by hand: one host of every kind, a few real servers, until Enter is pressed.
//!
//! `cargo run -p lab --example neighbourhood`, then in another terminal
//! `ip netns exec <the scanner namespace it prints> portreeve scan 10.99.7.0/26`.

use lab::{Kind, LabSpec, Server};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lab = LabSpec::new()
        .host("web", 10, Kind::Refusing)
        .host("drop", 20, Kind::Dropping)
        .host("gate", 30, Kind::Prohibiting)
        .host("dark", 40, Kind::Dark)
        .host("wall", 50, Kind::AcceptsAll)
        .start()?;
    for (host, server) in [
        ("web", Server::Redis { port: 6379 }),
        ("web", Server::MariaDb { port: 3307 }),
        ("web", Server::NginxTls { port: 8443, title: "Router Console".into() }),
        ("web", Server::Sshd { port: 22 }),
        ("drop", Server::Memcached { port: 11211 }),
        ("gate", Server::Vsftpd { port: 21 }),
        ("dark", Server::Rsync { port: 873 }),
        ("wall", Server::Redis { port: 6379 }),
    ] {
        lab.host(host).serve(server)?;
    }
    println!("the truth, seen from namespace {}:", lab.scanner().name());
    for open in lab.truth() {
        println!("  {} port {} on {}: {} {}", open.ip, open.port, open.host, open.service, open.product.unwrap_or(""));
    }
    println!("press Enter to end it");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
