//! `portreeve token …` and `portreeve user …`: what an administrator does at the shell, beside a running server or without one.
//!
//! Each act is audited like one through the API; hashing and minting are `server::auth`'s.

use crate::cli::{DatabaseArgs, TokenCommand, UserCommand};
use crate::config::database_url;
use anyhow::Context;
use store::Store;

/// Who the audit trail names: whoever may read the database at the shell is as good as an administrator.
fn actor() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "unknown".into());
    format!("shell:{user}")
}

async fn open(args: &DatabaseArgs) -> anyhow::Result<Store> {
    if args.db.is_none() && !args.data.join("portreeve.db").exists() {
        anyhow::bail!(
            "there is no database in `{}`\nhint: name the directory of the running system with --data, or its PostgreSQL with --db",
            args.data.display()
        );
    }
    Ok(Store::open(&database_url(args.db.as_deref(), &args.data)?).await?)
}

/// Runs `portreeve token …`.
pub async fn token(command: TokenCommand) -> anyhow::Result<()> {
    let TokenCommand::Create { name, role, database } = command;
    let store = open(&database).await?;
    let secret = server::auth::create_token(&store, &name, role, &actor()).await.context("the token cannot be made")?;
    println!("{secret}");
    store.close().await;
    Ok(())
}

/// Runs `portreeve user …`.
pub async fn user(command: UserCommand) -> anyhow::Result<()> {
    let UserCommand::ResetPassword { name, database } = command;
    let store = open(&database).await?;
    let password = server::auth::reset_password(&store, &name, &actor()).await?;
    println!("{password}");
    anstream::eprintln!("{name} signs in with it once and then sets a new one");
    store.close().await;
    Ok(())
}
