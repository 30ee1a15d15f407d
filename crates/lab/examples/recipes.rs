//! Starts recipes one after the other, on their usual ports and then on others, and says how each fared:
//! `cargo run -p lab --example recipes [NAME…]`; with `--hold NAME` it leaves one running until a key is pressed.
//!
//! For writing a recipe. What identification makes of them is left to `cargo xtask bench identify`.

use lab::recipe::{self, Recipe};
use lab::{Kind, LabSpec};
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let hold = words.iter().position(|w| w == "--hold").map(|i| words.remove(i)).is_some();
    let wanted = |r: &&Recipe| words.is_empty() || words.iter().any(|w| w == r.name);
    let mut failed = 0;
    for recipe in recipe::all().into_iter().filter(wanted) {
        for (i, first) in [0u16, 31_000].into_iter().enumerate() {
            let lab = LabSpec::new().host("it", 10, Kind::Refusing).start()?;
            let mut next = first;
            let others = recipe.other_ports(|| {
                next += 17;
                next
            });
            let ports = if first == 0 { recipe.usual_ports() } else { others };
            let began = Instant::now();
            match lab.host("it").cook(recipe, &ports) {
                Ok(cooked) => {
                    let took = began.elapsed();
                    let versions: Vec<String> = recipe
                        .doors
                        .iter()
                        .map(|d| d.true_version().map_or_else(|e| format!("{e:#}"), |v| v.unwrap_or_else(|| "not told".into())))
                        .collect();
                    let state = cooked.state().map_or_else(|e| format!("{e:#}"), |s| s.unwrap_or_default());
                    println!("ok   {:<26} {ports:?} {took:.1?} {versions:?} {state:?}", recipe.name);
                    if hold && i == 0 {
                        println!("ip netns exec {} …  (enter ends it)", lab.scanner().name());
                        std::io::stdin().read_line(&mut String::new())?;
                    }
                    let began = Instant::now();
                    cooked.stop();
                    if began.elapsed().as_secs() > 5 {
                        println!("     {} took {:.1?} to end", recipe.name, began.elapsed());
                    }
                }
                Err(e) => {
                    failed += 1;
                    println!("FAIL {:<26} {ports:?} {e:#}", recipe.name);
                }
            }
        }
    }
    match failed {
        0 => Ok(()),
        n => std::process::exit(n.min(100)),
    }
}
