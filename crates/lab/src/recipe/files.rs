//! Servers that hand out files.

use super::{Access, Door, Place, Recipe, Version};
use anyhow::Result;
use std::process::Command;

const FTP: &[&str] = &["ftp"];

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::fast(
        "vsftpd",
        &[Door::tcp("vsftpd", 21, FTP, &["vsFTPd", "vsftpd"]).version(Version::Package("vsftpd")).access(Access::Open)],
        |p| vsftpd(p, true),
    ),
    Recipe::fast(
        "proftpd",
        // Its greeting has no version unless it is told to.
        &[Door::tcp("proftpd", 21, FTP, &["ProFTPD"]).access(Access::Password)],
        |p| {
            p.folder("modules")?;
            p.write("group", "nogroup:x:65534:\n")?;
            let text = "ServerType standalone\nDefaultAddress 0.0.0.0\nPort {port}\nUseIPv6 off\nUser nobody\nGroup nogroup\nUseReverseDNS off\nScoreboardFile none\n\
                        PidFile {dir}/pid\nDelayEngine off\nRequireValidShell off\n<Limit LOGIN>\n</Limit>\nSystemLog {dir}/proftpd.log\n\
                        WtmpLog off\nTransferLog none\nAuthOrder mod_auth_unix.c\n";
            p.write("proftpd.conf", text)?;
            // It insists that nobody else may write where its files are.
            p.run("chmod 755 {dir}")?;
            p.line("proftpd --nodaemon --config {dir}/proftpd.conf")
        },
    ),
    Recipe::fast("pure-ftpd", &[Door::tcp("pure-ftpd", 21, FTP, &["Pure-FTPd"]).access(Access::NotAsked)], |p| {
        p.line("pure-ftpd -S 0.0.0.0,{port} -E -H -A -c 20 -C 20 -g {dir}/pid")
    }),
    Recipe::fast(
        "rsync",
        // The number in its greeting is the protocol's.
        &[Door::tcp("rsync", 873, &["rsync"], &["", "rsync"]).access(Access::Open)],
        |p| {
            p.write("pub/readme", "hello\n")?;
            let text = "reverse lookup = no\nuse chroot = no\n[pub]\n path = {dir}/pub\n read only = yes\n";
            p.write("rsyncd.conf", text)?;
            p.line("rsync --daemon --no-detach --port={port} --config={dir}/rsyncd.conf --log-file=/dev/stderr")
        },
    ),
    Recipe::slow(
        "samba",
        // SMB2 tells an operating system build that Samba makes up, and no product of its own but by its manners.
        &[Door::tcp("samba", 445, &["smb", "microsoft-ds", "netbios-ssn"], &["", "Samba", "Samba smbd"]).access(Access::Open)],
        |p| {
            for name in ["private", "lock", "state", "cache", "ncalrpc", "pub", "log.d"] {
                p.folder(name)?;
            }
            let text = "[global]\nsmb ports = {port}\nmap to guest = Bad User\nprivate dir = {dir}/private\nlock directory = {dir}/lock\n\
                        pid directory = {dir}\nstate directory = {dir}/state\ncache directory = {dir}/cache\nncalrpc dir = {dir}/ncalrpc\n\
                        log file = {dir}/log.d/log.%m\nserver role = standalone server\nload printers = no\ndisable spoolss = yes\n\
                        bind interfaces only = no\n[pub]\npath = {dir}/pub\nguest ok = yes\nread only = yes\n";
            p.write("smb.conf", text)?;
            p.line("smbd --foreground --no-process-group --debug-stdout --configfile={dir}/smb.conf")
        },
    ),
    Recipe::slow(
        "nfs-ganesha",
        &[Door::tcp("nfs-ganesha", 2049, &["nfs"], &["", "NFS-Ganesha", "nfs"]).access(Access::Open)],
        |p| {
            p.write("pub/readme", "hello\n")?;
            let text = "NFS_CORE_PARAM { NFS_Port = {port}; MNT_Port = 0; NLM_Port = 0; Rquota_Port = 0; NFS_Protocols = 4; Enable_NLM = false; \
                        Enable_RQUOTA = false; Bind_addr = 0.0.0.0; }\nNFSV4 { Graceless = true; RecoveryRoot = {dir}; }\n\
                        EXPORT { Export_Id = 1; Path = {dir}/pub; Pseudo = /pub; Access_Type = RO; Squash = All; SecType = sys; Protocols = 4; \
                        FSAL { Name = VFS; } }\nLOG { Default_Log_Level = EVENT; }\n";
            p.write("ganesha.conf", text)?;
            p.line("ganesha.nfsd -F -f {dir}/ganesha.conf -L /dev/stderr -p {dir}/pid")
        },
    ),
    Recipe::fast(
        "rpcbind",
        &[Door::tcp("rpcbind", 111, &["rpcbind", "portmapper"], &["", "rpcbind"])],
        // It knows one port only, so elsewhere a relay stands in front. Its lock and its socket are its own, so that a second lab may
        // have one as well.
        |p| {
            let mut c = p.line("/usr/bin/unshare --mount --propagation private /bin/sh -c")?;
            let then = match p.ports[0] {
                111 => "exec rpcbind -f",
                _ => "rpcbind -f & exec socat TCP-LISTEN:{port},fork,reuseaddr TCP:127.0.0.1:111",
            };
            c.arg(p.fill(&format!("mount -t tmpfs run /run && install -d -o _rpc /run/rpcbind && {then}")));
            Ok(c)
        },
    ),
];

/// vsftpd, with or without anonymous access.
pub(super) fn vsftpd(p: &Place, anonymous: bool) -> Result<Command> {
    std::fs::create_dir_all(p.dir.join("empty"))?;
    let text = "listen=YES\nlisten_port={port}\nbackground=NO\nanon_root={dir}/empty\nsecure_chroot_dir={dir}/empty\n\
                seccomp_sandbox=NO\nxferlog_enable=NO\nlocal_enable=YES\n";
    p.write("vsftpd.conf", &format!("{text}anonymous_enable={}\n", if anonymous { "YES" } else { "NO" }))?;
    p.line("vsftpd {dir}/vsftpd.conf")
}
