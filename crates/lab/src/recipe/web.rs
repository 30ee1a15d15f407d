//! Web servers and proxies that are nothing more than that.

use super::{Door, Place, Ready, Recipe, Version};
use anyhow::Result;
use std::process::Command;

const HTTP: &[&str] = &["http", "http-proxy"];
/// What a web server says to a first request: anything at all in HTTP.
const HELLO: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::fast(
        "nginx",
        &[Door::tcp("nginx", 80, HTTP, &["nginx"]).version(Version::Package("nginx"))],
        |p| nginx(p, "listen {port}; root {dir}/html;"),
    ),
    Recipe::fast(
        "nginx-tls",
        &[Door::tcp("nginx-tls", 443, HTTP, &["nginx"]).version(Version::Package("nginx")).tls()],
        |p| {
            p.certificate()?;
            nginx(p, "listen {port} ssl; ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem; root {dir}/html;")
        },
    ),
    Recipe::fast(
        "apache",
        &[Door::tcp("apache", 80, HTTP, &["Apache httpd", "Apache"]).version(Version::Package("apache2-bin"))],
        |p| {
            p.write("html/index.html", "<title>It works</title>\n")?;
            let modules = ["mpm_event", "authz_core", "dir", "mime"];
            let load: String =
                modules.iter().map(|m| format!("LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n")).collect();
            let text = "ServerRoot {dir}\nServerName lab.test\nListen 0.0.0.0:{port}\nPidFile {dir}/pid\nErrorLog /dev/stderr\nUser nobody\n\
                        Group nogroup\nDocumentRoot {dir}/html\nDefaultRuntimeDir {dir}\nTypesConfig /etc/mime.types\n<Directory {dir}/html>\nRequire all granted\n\
                        </Directory>\n";
            p.write("apache.conf", &format!("{load}{text}"))?;
            if !std::path::Path::new("/etc/mime.types").exists() {
                p.write("apache.conf", &format!("{load}{}", text.replace("/etc/mime.types", "/dev/null")))?;
            }
            p.line("apache2 -DFOREGROUND -f {dir}/apache.conf")
        },
    ),
    Recipe::fast(
        "lighttpd",
        &[Door::tcp("lighttpd", 80, HTTP, &["lighttpd"]).version(Version::Package("lighttpd"))],
        |p| {
            p.write("html/index.html", "<title>hello</title>\n")?;
            let text = "server.document-root = \"{dir}/html\"\nserver.port = {port}\nserver.bind = \"0.0.0.0\"\n\
                        index-file.names = ( \"index.html\" )\n";
            p.write("lighttpd.conf", text)?;
            p.line("lighttpd -D -f {dir}/lighttpd.conf")
        },
    ),
    Recipe::fast(
        "haproxy",
        // It names itself on its statistics page.
        &[Door::tcp("haproxy", 1936, HTTP, &["HAProxy", "HAProxy http proxy"]).version(Version::Package("haproxy"))],
        |p| {
            let text = "global\n stats timeout 5s\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
                        frontend stats\n bind 0.0.0.0:{port}\n stats enable\n stats uri /\n";
            p.write("haproxy.cfg", text)?;
            p.line("haproxy -db -f {dir}/haproxy.cfg")
        },
    ),
    Recipe::fast(
        "squid",
        &[Door::tcp("squid", 3128, HTTP, &["Squid", "squid", "Squid http proxy"]).version(Version::Package("squid"))],
        |p| {
            p.folder("logs")?;
            let text = "http_port 0.0.0.0:{port}\npid_filename {dir}/pid\naccess_log none\ncache_log /dev/stderr\ncache deny all\n\
                        coredump_dir {dir}\nvisible_hostname proxy.lab.test\nhttp_access deny all\nlogfile_rotate 0\nshutdown_lifetime 1 second\n\
                        netdb_filename none\npinger_enable off\n";
            p.write("squid.conf", text)?;
            p.give_to("proxy")?;
            p.line("squid -N -n lab{port} -f {dir}/squid.conf")
        },
    ),
    Recipe::slow(
        "tinyproxy",
        &[Door::tcp("tinyproxy", 8888, HTTP, &["tinyproxy"]).version(Version::Package("tinyproxy-bin"))],
        |p| {
            p.write("tinyproxy.conf", "Port {port}\nListen 0.0.0.0\nTimeout 30\nMaxClients 50\n")?;
            p.line("tinyproxy -d -c {dir}/tinyproxy.conf")
        },
    ),
    Recipe::slow("varnish", &[Door::tcp("varnish", 6081, HTTP, &["Varnish", "Varnish http accelerator"]).version(Version::Minor("varnish"))], |p| {
        p.folder("work")?;
        p.line("varnishd -F -a 0.0.0.0:{port} -b 127.0.0.1:9 -T none -n {dir}/work -s malloc,16m -j none")
    })
    .ready(Ready::Answers(HELLO, "HTTP/1.")),
    Recipe::slow(
        "icecast",
        &[Door::tcp("icecast", 8000, &["http", "icecast"], &["Icecast", "Icecast streaming media server"]).version(Version::Package("icecast2"))],
        |p| {
            p.folder("log.d")?;
            let text = "<icecast><limits><clients>50</clients><sources>2</sources></limits><authentication><source-password>lab-only</source-password>\
                        <admin-user>admin</admin-user><admin-password>lab-only</admin-password></authentication><hostname>lab.test</hostname>\
                        <listen-socket><port>{port}</port></listen-socket><paths><basedir>/usr/share/icecast2</basedir><logdir>{dir}/log.d</logdir>\
                        <webroot>/usr/share/icecast2/web</webroot><adminroot>/usr/share/icecast2/admin</adminroot></paths><logging><accesslog>-</accesslog>\
                        <errorlog>-</errorlog></logging><security><chroot>0</chroot><changeowner><user>nobody</user><group>nogroup</group></changeowner>\
                        </security></icecast>\n";
            p.write("icecast.xml", text)?;
            p.give_to("nobody")?;
            p.line("icecast2 -c {dir}/icecast.xml")
        },
    ),
    Recipe::slow(
        "tomcat",
        // The page of an installation that nobody has changed, and its errors, tell the version.
        &[Door::tcp("tomcat", 8080, HTTP, &["Apache Tomcat", "Tomcat"]).version(Version::Package("tomcat10"))],
        |p| tomcat(p, "", ""),
    )
    .ready(Ready::Answers(HELLO, "HTTP/1.")),
    Recipe::slow(
        "jetty",
        &[Door::tcp("jetty", 8080, HTTP, &["Jetty"]).version(Version::Package("libjetty9-java"))],
        |p| {
            let source = "import org.eclipse.jetty.server.Server; public class Web { public static void main(String[] a) throws Exception { \
                          Server s = new Server({port}); s.setHandler(new org.eclipse.jetty.server.handler.DefaultHandler()); s.start(); s.join(); } }";
            p.write("Web.java", source)?;
            let jars = "/usr/share/java/jetty9-server.jar:/usr/share/java/jetty9-http.jar:/usr/share/java/jetty9-io.jar:\
                        /usr/share/java/jetty9-util.jar:/usr/share/java/servlet-api.jar:/usr/share/java/libservlet3.1.jar:\
                        /usr/share/java/servlet-api-3.1.jar:/usr/share/java/jakarta-servlet-api.jar";
            p.run(&format!("javac -cp {jars} -d {{dir}} {{dir}}/Web.java"))?;
            p.line(&format!("java -Xmx48m -cp {jars}:{{dir}} Web"))
        },
    )
    .ready(Ready::Answers(HELLO, "HTTP/1.")),
];

/// nginx with this inside its server block, and a page.
pub(super) fn nginx(p: &Place, block: &str) -> Result<Command> {
    p.write("html/index.html", "<!doctype html><title>Shop</title>\n")?;
    let text = "user root;\nworker_processes 1;\npid {dir}/pid;\nerror_log stderr warn;\nevents {}\nhttp {\n client_body_temp_path {dir}/t1; \
                proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5; access_log off; \
                types { text/html html; } ";
    p.write("nginx.conf", &format!("{text} server {{ {block} }}\n}}\n"))?;
    let mut c = p.line("nginx -p {dir} -c {dir}/nginx.conf -e stderr -g")?;
    c.arg("daemon off;");
    Ok(c)
}

/// Tomcat with one empty application, more elements for its engine, and more for its host.
fn tomcat(p: &Place, engine: &str, host: &str) -> Result<Command> {
    for folder in ["logs", "temp", "work", "webapps/ROOT"] {
        p.folder(folder)?;
    }
    p.write("webapps/ROOT/index.html", "<title>Apache Tomcat</title>\n")?;
    let text = "<Server port=\"-1\"><Service name=\"Catalina\"><Connector port=\"{port}\" protocol=\"HTTP/1.1\"/>\
                <Engine name=\"Catalina\" defaultHost=\"localhost\">{engine}<Host name=\"localhost\" appBase=\"webapps\">{host}</Host></Engine>\
                </Service></Server>\n";
    p.write("conf/server.xml", &text.replace("{engine}", engine).replace("{host}", host))?;
    let web = "<web-app xmlns=\"https://jakarta.ee/xml/ns/jakartaee\" version=\"5.0\"><servlet><servlet-name>default</servlet-name>\
               <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class></servlet><servlet-mapping>\
               <servlet-name>default</servlet-name><url-pattern>/</url-pattern></servlet-mapping><servlet><servlet-name>jsp</servlet-name>\
               <servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class></servlet><servlet-mapping><servlet-name>jsp</servlet-name>\
               <url-pattern>*.jsp</url-pattern></servlet-mapping></web-app>\n";
    p.write("conf/web.xml", web)?;
    let mut c = p.line("/usr/share/tomcat10/bin/catalina.sh run")?;
    c.env("CATALINA_HOME", "/usr/share/tomcat10").env("CATALINA_BASE", &p.dir).env("JAVA_OPTS", "-Xmx96m");
    Ok(c)
}

/// The same with its manager, open to other machines, and an account in it. Five failures lock the account, as ever.
pub(super) fn tomcat_manager(p: &Place, password: &str) -> Result<Command> {
    let users = format!(
        "<tomcat-users><role rolename=\"manager-gui\"/><role rolename=\"manager-status\"/>\
         <user username=\"tomcat\" password=\"{password}\" roles=\"manager-gui,manager-status\"/></tomcat-users>\n"
    );
    p.write("conf/users.xml", &users)?;
    let realm = "<Realm className=\"org.apache.catalina.realm.LockOutRealm\"><Realm className=\"org.apache.catalina.realm.MemoryRealm\" \
                 pathname=\"{dir}/conf/users.xml\"/></Realm>";
    let manager = "<Context path=\"/manager\" docBase=\"/usr/share/tomcat10-admin/manager\" privileged=\"true\"/>";
    tomcat(p, realm, manager)
}
