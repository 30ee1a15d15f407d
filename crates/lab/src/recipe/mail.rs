//! Mail and chat.

use super::{Access, Door, Place, Recipe, Version};
use anyhow::Result;
use std::process::Command;

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::fast(
        "exim",
        &[Door::tcp("exim", 25, &["smtp"], &["Exim", "Exim smtpd"]).version(Version::Unpacked("exim4-daemon-light"))],
        |p| {
            let text = "primary_hostname = mail.lab.test\nspool_directory = {dir}/spool\nlog_file_path = {dir}/%slog\nhost_lookup =\n\
                        rfc1413_query_timeout = 0s\nexim_user = root\nexim_group = root\nnever_users =\nacl_smtp_rcpt = deny_all\n\
                        daemon_smtp_ports = {port}\nlocal_interfaces = 0.0.0.0\ntls_advertise_hosts =\n\nbegin acl\ndeny_all:\n deny\n";
            p.write("exim.conf", text)?;
            p.folder("spool")?;
            p.line("exim4 -bdf -C {dir}/exim.conf")
        },
    ),
    Recipe::fast(
        "aiosmtpd",
        &[Door::tcp("aiosmtpd", 25, &["smtp"], &["aiosmtpd", "Python aiosmtpd"]).version(Version::Package("python3-aiosmtpd"))],
        |p| p.line("aiosmtpd -n -l 0.0.0.0:{port}"),
    ),
    Recipe::fast("dovecot-imap", &[Door::tcp("dovecot-imap", 143, &["imap"], &["Dovecot", "Dovecot imapd"])], |p| {
        dovecot(p, "imap")
    }),
    Recipe::fast("dovecot-pop3", &[Door::tcp("dovecot-pop3", 110, &["pop3"], &["Dovecot", "Dovecot pop3d"])], |p| {
        dovecot(p, "pop3")
    }),
    Recipe::slow("ngircd", &[Door::tcp("ngircd", 6667, &["irc"], &["", "ngIRCd", "ngircd"])], |p| {
        let text = "[Global]\nName = irc.lab.test\nInfo = lab\nPorts = {port}\nListen = 0.0.0.0\nServerUID = nobody\nServerGID = nogroup\n\
                    [Options]\nDNS = no\nIdent = no\nPAM = no\nChrootDir =\n[Limits]\nMaxConnectionsIP = 0\n";
        p.write("ngircd.conf", text)?;
        p.line("ngircd -n -f {dir}/ngircd.conf")
    }),
    Recipe::slow("prosody", &[Door::tcp("prosody", 5222, &["xmpp", "xmpp-client", "jabber"], &["", "Prosody"])], |p| {
        p.folder("data")?;
        let text = "daemonize = false\nrun_as_root = true\npidfile = \"{dir}/pid\"\ndata_path = \"{dir}/data\"\nc2s_ports = { {port} }\n\
                    c2s_interfaces = { \"0.0.0.0\" }\ns2s_ports = {}\nhttp_ports = {}\nhttps_ports = {}\nc2s_require_encryption = false\n\
                    modules_disabled = { \"s2s\" }\nmodules_enabled = { \"saslauth\", \"disco\" }\nlog = { info = \"*console\" }\n\
                    authentication = \"internal_hashed\"\nVirtualHost \"lab.test\"\n";
        p.write("prosody.cfg.lua", text)?;
        p.line("prosody --config {dir}/prosody.cfg.lua -F")
    }),
    Recipe::slow(
        "dovecot-imaps",
        &[Door::tcp("dovecot-imaps", 993, &["imap"], &["Dovecot", "Dovecot imapd"]).tls().access(Access::Password)],
        |p| {
            p.certificate()?;
            dovecot(p, "imaps")
        },
    ),
];

/// Dovecot with one protocol.
fn dovecot(p: &Place, protocol: &str) -> Result<Command> {
    let plain = protocol.trim_end_matches('s');
    let (listener, tls) = if protocol == plain {
        (plain.to_owned(), "ssl = no\n".to_owned())
    } else {
        (protocol.to_owned(), "ssl = yes\nssl_cert = <{dir}/cert.pem\nssl_key = <{dir}/key.pem\n".to_owned())
    };
    let off = if protocol == plain { format!("{plain}s") } else { plain.to_owned() };
    p.folder("run")?;
    let text = format!(
        "base_dir = {{dir}}/run\nprotocols = {plain}\nlisten = 0.0.0.0\nlog_path = /dev/stderr\n{tls}\
         default_internal_user = dovecot\ndefault_login_user = dovenull\ndisable_plaintext_auth = no\nmail_location = maildir:{{dir}}/mail\n\
         service {plain}-login {{\n inet_listener {listener} {{\n  port = {{port}}\n }}\n inet_listener {off} {{\n  port = 0\n }}\n}}\n\
         passdb {{\n driver = static\n args = password=not-a-secret-of-anything-real\n}}\nuserdb {{\n driver = static\n args = uid=nobody gid=nogroup home={{dir}}\n}}\n"
    );
    p.write("dovecot.conf", &text)?;
    p.line("dovecot -F -c {dir}/dovecot.conf")
}
