//! Servers that hand out a shell or a screen.

use super::{Access, Door, Place, Ready, Recipe, Version};
use anyhow::Result;
use std::process::Command;

const SSH: &[&str] = &["ssh"];
const VNC: &[&str] = &["vnc"];

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::fast(
        "openssh",
        &[Door::tcp("openssh", 22, SSH, &["OpenSSH"]).version(Version::Package("openssh-server")).access(Access::Password)],
        |p| {
            std::fs::create_dir_all("/run/sshd")?;
            p.run("ssh-keygen -q -t ed25519 -f {dir}/key -N lab")?;
            // Without a passphrase, which cannot be written as an empty word on a line.
            p.run_words(&["ssh-keygen", "-q", "-p", "-P", "lab", "-N", "", "-f", "{dir}/key"])?;
            p.write("sshd_config", "Port {port}\nHostKey {dir}/key\nPidFile none\nUsePAM no\nMaxStartups 500\n")?;
            p.line("/usr/sbin/sshd -D -e -f {dir}/sshd_config")
        },
    ),
    Recipe::fast(
        "dropbear",
        &[Door::tcp("dropbear", 22, SSH, &["Dropbear"]).version(Version::Package("dropbear-bin")).access(Access::Password)],
        |p| {
            p.run("dropbearkey -t ed25519 -f {dir}/key")?;
            p.line("dropbear -F -E -p {port} -r {dir}/key -P {dir}/pid")
        },
    ),
    Recipe::fast(
        "telnetd",
        // The greeting is the host's, not the server's.
        &[Door::tcp("telnetd", 23, &["telnet"], &["", "telnetd", "GNU inetutils telnetd", "Linux telnetd"])
            .access(Access::Password)],
        |p| {
            let text = "service telnet\n{\n type = UNLISTED\n port = {port}\n socket_type = stream\n protocol = tcp\n wait = no\n user = root\n \
                        server = /usr/sbin/telnetd\n instances = 50\n cps = 1000 1\n}\n";
            p.write("xinetd.conf", text)?;
            p.line("xinetd -dontfork -pidfile {dir}/pid -f {dir}/xinetd.conf")
        },
    ),
    Recipe::fast(
        "tigervnc",
        // RFB tells no product. Each display is in a network of its own, and the lock of its number would be everybody's.
        &[Door::tcp("tigervnc", 5900, VNC, &["", "TigerVNC", "VNC"]).access(Access::Open)],
        |p| {
            p.folder("home")?;
            let mut c = p.line(
                "Xtigervnc :7 -nolock -rfbport {port} -SecurityTypes None -localhost=0 -geometry 320x240 -nolisten unix -AlwaysShared",
            )?;
            c.env("HOME", p.dir.join("home"));
            Ok(c)
        },
    ),
    Recipe::slow(
        "tigervnc-password",
        &[Door::tcp("tigervnc-password", 5900, VNC, &["", "TigerVNC", "VNC"]).access(Access::Password)],
        |p| {
            // The obfuscated form of a password of eight bytes: any will do, nobody signs in.
            std::fs::write(p.dir.join("passwd"), [0x17, 0x52, 0x6b, 0x06, 0x23, 0x4e, 0x58, 0x07])?;
            p.line("Xtigervnc :8 -nolock -rfbport {port} -SecurityTypes VncAuth -rfbauth {dir}/passwd -localhost=0 -geometry 320x240 -nolisten unix")
        },
    ),
    Recipe::slow("x11vnc", &[Door::tcp("x11vnc", 5900, VNC, &["", "x11vnc", "VNC"]).access(Access::Open)], |p| {
        shell(
            p,
            "Xvfb :9 -nolock -screen 0 320x240x8 -listen tcp -nolisten unix -ac & sleep 3; exec x11vnc -noshm -no6 -display 127.0.0.1:9 -rfbport {port} -forever -shared -nopw",
        )
    }),
    Recipe::slow(
        "x11",
        &[Door::tcp("x11", 6000, &["x11"], &["", "X.Org", "Xvfb"]).version(Version::Package("xvfb")).access(Access::Open)],
        // The port of a display is 6000 and its number.
        |p| {
            let display = p.ports[0].checked_sub(6000).filter(|d| *d < 59_000);
            let display = display.ok_or_else(|| anyhow::anyhow!("X11 is on 6000 and above, not on {}", p.ports[0]))?;
            p.line(&format!("Xvfb :{display} -nolock -screen 0 320x240x8 -listen tcp -nolisten unix -ac"))
        },
    ),
    Recipe::slow("xrdp", &[Door::tcp("xrdp", 3389, &["rdp", "ms-wbt-server"], &["xrdp"]).access(Access::Password)], |p| {
        p.certificate()?;
        let text = "[Globals]\nini_version=1\nfork=true\nport={port}\naddress=0.0.0.0\nsecurity_layer=negotiate\ncrypt_level=high\n\
                    certificate={dir}/cert.pem\nkey_file={dir}/key.pem\nssl_protocols=TLSv1.2, TLSv1.3\nallow_channels=true\nmax_bpp=24\n\
                    [Logging]\nLogFile={dir}/xrdp.log\nLogLevel=INFO\nEnableSyslog=false\n[Channels]\n[Xorg]\nname=Xorg\nlib=libxup.so\n\
                    username=ask\npassword=ask\nip=127.0.0.1\nport=-1\ncode=20\n";
        p.write("xrdp.ini", text)?;
        p.line("xrdp --nodaemon --config {dir}/xrdp.ini")
    }),
    Recipe::slow(
        "jdwp",
        // A virtual machine that waits for its debugger, and must go on waiting: its program writes a file when it runs.
        &[Door::tcp("jdwp", 5005, &["jdwp"], &["", "JDWP", "Java Debug Wire Protocol", "OpenJDK"])],
        |p| {
            p.write(
                "Main.java",
                "public class Main { public static void main(String[] a) throws Exception { \
                     new java.io.FileWriter(\"{dir}/it-ran\").close(); Thread.sleep(1000000); } }",
            )?;
            p.run("javac -d {dir} {dir}/Main.java")?;
            p.line("java -Xmx32m -agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=0.0.0.0:{port} -cp {dir} Main")
        },
    )
    .state(|p| Ok(if p.dir.join("it-ran").exists() { "resumed" } else { "suspended" }.to_owned())),
    Recipe::slow("distcc", &[Door::tcp("distcc", 3632, &["distcc", "distccd"], &["", "distcc", "distccd"])], |p| {
        p.folder("tmp")?;
        p.line(
            "distccd --no-detach --daemon --user nobody --listen 0.0.0.0 --port {port} --allow 0.0.0.0/0 --log-stderr --jobs 2",
        )
    })
    .ready(Ready::Accepts),
];

/// A script run by the shell in the foreground.
pub(super) fn shell(p: &Place, script: &str) -> Result<Command> {
    let mut c = p.line("/bin/sh -c")?;
    c.arg(p.fill(script));
    Ok(c)
}
