//! Servers that run in a Java virtual machine: slow to start, large, and mostly binary in what they speak.

use super::{Access, Door, Place, Ready, Recipe, Version, python_package};
use anyhow::Result;
use std::process::Command;

const SPARK: Version = Version::Python("pyspark");

pub(super) const RECIPES: &[Recipe] = &[
    Recipe::slow(
        "zookeeper",
        &[Door::tcp("zookeeper", 2181, &["zookeeper"], &["ZooKeeper", "Apache ZooKeeper", "Zookeeper"])
            .version(Version::Package("zookeeper"))
            .access(Access::Open)],
        |p| {
            zookeeper_conf(p)?;
            let jars = "/usr/share/java/zookeeper.jar:/usr/share/java/*";
            java(p, &format!("-Xmx64m -Dzookeeper.admin.enableServer=false -cp {jars} org.apache.zookeeper.server.ZooKeeperServerMain {{dir}}/zoo.cfg"))
        },
    )
    .ready(Ready::Answers(b"srvr", "Mode:"))
    .state(zxid),
    Recipe::slow(
        "zookeeper-of-spark",
        // An older one, whose four-letter words are not allowed but for one.
        &[Door::tcp("zookeeper-of-spark", 2181, &["zookeeper"], &["ZooKeeper", "Apache ZooKeeper", "Zookeeper"])
            .version(Version::Jar("pyspark", "zookeeper-"))
            .access(Access::Open)],
        |p| {
            zookeeper_conf(p)?;
            let jars = python_package("pyspark")?.join("jars");
            java(
                p,
                &format!(
                    "-Xmx64m -Dzookeeper.admin.enableServer=false -cp {}/* org.apache.zookeeper.server.ZooKeeperServerMain {{dir}}/zoo.cfg",
                    jars.display()
                ),
            )
        },
    )
    .ready(Ready::Answers(b"srvr", "Mode:"))
    .state(zxid),
    Recipe::slow(
        "spark-master",
        &[
            Door::tcp("spark-master", 7077, &["spark"], &["Spark", "Apache Spark"]).access(Access::NotAsked),
            Door::tcp("spark-ui", 8080, &["http", "spark"], &["Spark", "Apache Spark", "Spark Master"]).beneath(&["Jetty"]).version(SPARK).access(Access::Open),
            Door::tcp("spark-rest", 6066, &["http", "spark"], &["Spark", "Apache Spark"]).beneath(&["Jetty"]).version(SPARK).access(Access::Open),
        ],
        |p| {
            let jars = python_package("pyspark")?.join("jars");
            let text = format!(
                "-Xmx256m -Dspark.master.rest.enabled=true -Dspark.master.rest.port={{port2}} -cp {}/* \
                 org.apache.spark.deploy.master.Master --host 0.0.0.0 --port {{port}} --webui-port {{port1}}",
                jars.display()
            );
            let mut c = java(p, &text)?;
            c.env("SPARK_LOCAL_IP", "0.0.0.0").env("SPARK_NO_DAEMONIZE", "1").env("SPARK_HOME", python_package("pyspark")?);
            Ok(c)
        },
    ),
    Recipe::slow(
        "hadoop-ipc",
        // The version in its answer is that of the protocol between Hadoop's own.
        &[Door::tcp("hadoop-ipc", 8020, &["hadoop-ipc", "hadoop", "hdfs", "hadoop-ipc-server"], &["Hadoop", "Apache Hadoop"])],
        |p| {
            let jars = python_package("pyspark")?.join("jars");
            let source = "import org.apache.hadoop.conf.Configuration; import org.apache.hadoop.ipc.*;\n\
                public class Ipc { public static class Nothing implements VersionedProtocol { public static final long versionID = 1L;\n\
                public long getProtocolVersion(String p, long v) { return 1L; }\n\
                public ProtocolSignature getProtocolSignature(String p, long v, int h) { return new ProtocolSignature(1L, null); } }\n\
                public static void main(String[] a) throws Exception { RPC.Server s = new RPC.Builder(new Configuration())\n\
                .setProtocol(VersionedProtocol.class).setInstance(new Nothing()).setBindAddress(\"0.0.0.0\").setPort({port})\n\
                .setNumHandlers(2).build(); s.start(); s.join(); } }\n";
            p.write("Ipc.java", source)?;
            p.run(&format!("javac -cp {}/* -d {{dir}} {{dir}}/Ipc.java", jars.display()))?;
            java(p, &format!("-Xmx96m -cp {}/*:{{dir}} Ipc", jars.display()))
        },
    ),
    Recipe::slow(
        "flink",
        &[
            Door::tcp("flink-ui", 8081, &["http", "flink"], &["Flink", "Apache Flink"])
                .version(Version::Python("apache-flink-libraries"))
                .access(Access::Open),
            Door::tcp("flink-rpc", 6123, &["", "flink", "pekko", "akka", "unknown"], &[]),
        ],
        |p| {
            let home = python_package("pyflink")?;
            let text = "rest.bind-address: 0.0.0.0\nrest.address: 127.0.0.1\nrest.port: {port}\nrest.bind-port: {port}\njobmanager.rpc.address: 127.0.0.1\n\
                        jobmanager.bind-host: 0.0.0.0\njobmanager.rpc.port: {port1}\njobmanager.memory.process.size: 600m\nio.tmp.dirs: {dir}\n\
                        web.tmpdir: {dir}\nweb.upload.dir: {dir}/upload\nblob.storage.directory: {dir}\n";
            p.write("conf/config.yaml", text)?;
            p.write("conf/flink-conf.yaml", text)?;
            java(
                p,
                &format!(
                    "-Xmx256m -cp {0}/lib/* org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint --configDir {{dir}}/conf \
                     --executionMode cluster",
                    home.display()
                ),
            )
        },
    )
    .ready(Ready::Answers(b"GET /config HTTP/1.0\r\n\r\n", "flink-version")),
    Recipe::slow(
        "rmiregistry",
        &[Door::tcp("rmiregistry", 1099, &["java-rmi", "rmi", "rmiregistry"], &["", "Java RMI", "Java RMI Registry"])],
        |p| p.line("rmiregistry -J-Xmx32m {port}"),
    ),
    Recipe::slow(
        "hsqldb",
        &[Door::tcp("hsqldb", 9001, &["hsqldb"], &["HSQLDB", "HyperSQL", "HSQLDB JDBC"]).access(Access::Password)],
        |p| {
            java(p, "-Xmx48m -cp /usr/share/java/hsqldb.jar org.hsqldb.server.Server --database.0 mem:lab --dbname.0 lab --port {port} --address 0.0.0.0")
        },
    ),
    Recipe::slow("derby", &[Door::tcp("derby", 1527, &["drda", "derby"], &["Derby", "Apache Derby", "Apache Derby Network Server", "IBM DB2"]).version(Version::Package("libderby-java"))], |p| {
        java(
            p,
            "-Xmx48m -Dderby.system.home={dir} -Dderby.security.port=0 -cp /usr/share/java/* org.apache.derby.drda.NetworkServerControl start \
             -h 0.0.0.0 -p {port} -noSecurityManager",
        )
    }),
    Recipe::slow(
        "h2",
        &[
            Door::tcp("h2-console", 8082, &["http", "h2"], &["H2 Console", "H2", "H2 Database"]),
            Door::tcp("h2-tcp", 9092, &["h2"], &["H2", "H2 Database"]).version(Version::Package("libh2-java")),
        ],
        |p| {
            java(
                p,
                "-Xmx48m -cp /usr/share/java/h2.jar org.h2.tools.Server -web -webAllowOthers -webPort {port} -tcp -tcpAllowOthers -tcpPort {port1} \
                 -baseDir {dir} -properties {dir}",
            )
        },
    ),
];

/// `java` with these words; the machine has two cores and many of them.
fn java(p: &Place, rest: &str) -> Result<Command> {
    p.line(&format!("java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 {rest}"))
}

fn zookeeper_conf(p: &Place) -> Result<()> {
    p.folder("data")?;
    p.write("zoo.cfg", "tickTime=2000\ndataDir={dir}/data\nclientPort={port}\nmaxClientCnxns=0\nadmin.enableServer=false\n")
        .map(drop)
}

/// The number of the last transaction: opening a session is one.
fn zxid(p: &Place) -> Result<String> {
    let said = String::from_utf8_lossy(&p.ask(p.ports[0], b"srvr")?).into_owned();
    Ok(said.lines().filter(|l| l.starts_with("Zxid:") || l.starts_with("Node count:")).collect::<Vec<_>>().join(" "))
}
