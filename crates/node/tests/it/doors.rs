//! Real doors on the loopback address: some greet, some show a page, some are shut.

use model::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A door that is open as long as it lives.
pub struct Door {
    pub endpoint: Endpoint,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Greets with these bytes, then answers anything with `reply` and hangs up.
pub async fn open(greeting: &'static [u8], reply: &'static [u8]) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::tcp("127.0.0.1".parse().unwrap(), listener.local_addr().unwrap().port());
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(greeting).await.ok();
                let mut bytes = [0; 2048];
                if stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                    stream.write_all(reply).await.ok();
                }
            });
        }
    });
    Door { endpoint, task }
}

/// A port that was free a moment ago and that nobody listens on.
pub async fn shut() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Endpoint::tcp("127.0.0.1".parse().unwrap(), listener.local_addr().unwrap().port())
}
