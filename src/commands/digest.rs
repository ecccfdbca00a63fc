//! `podrefresh digest`: resolves references the way the controller would.

use std::{fmt, io::Write as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};

use self::order::{Order, Wanted};
use super::print;
use crate::{
    app, cli,
    error::Chain,
    observe::metrics::Metrics,
    policy::{Digest, ImageRef},
    registry::{Allowance, Lookup, Resolver, Trail},
};

mod order;

/// References resolved at the same time.
const AT_ONCE: usize = 16;

/// Prints a line for each reference, in the order given: its digest and its full form; what else there is to
/// tell follows, indented.
///
/// A reference that fails is told on standard error, and the others still printed.
pub(super) async fn run(flags: cli::Digest) -> anyhow::Result<()> {
    let registries = flags.registries.settings();
    let verbose = flags.verbose;
    let order = Order::of(flags).await?;
    let resolver = app::resolver(&registries, order.server.clone(), &Metrics::new())?;
    let count = order.wanted.len();
    let mut answers = stream::iter(&order.wanted)
        .map(|wanted| one(&resolver, &order, wanted, verbose))
        .buffered(AT_ONCE);
    let mut failed = 0_usize;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(text) => print(&format!("{text}\n"))?,
            Err(error) => {
                failed += 1;
                writeln!(std::io::stderr(), "{error}").context("cannot print")?;
            }
        }
    }
    anyhow::ensure!(
        failed == 0,
        "{failed} of {count} references could not be resolved"
    );
    Ok(())
}

/// Returns what to print about an image, or why there is nothing; a reference with a digest means that one, as to a
/// kubelet, and nobody is asked.
async fn one(
    resolver: &Resolver,
    order: &Order,
    wanted: &Wanted,
    verbose: bool,
) -> Result<String, String> {
    let image: &Arc<ImageRef> = wanted.image.as_ref().map_err(Clone::clone)?;
    let lookup = Lookup {
        image: Arc::clone(image),
        identity: Arc::clone(&order.identity),
    };
    let (digest, trail) = match image.digest() {
        Some(digest) => (digest.clone(), None),
        None => match resolver.digest(&lookup, Duration::ZERO).await {
            Ok(answer) => (answer.digest, Some(answer.trail)),
            Err(error) => return Err(Chain(&error).to_string()),
        },
    };
    let mut text = format!("{digest}  {image}");
    if verbose {
        let containers = wanted.containers.iter();
        let containers = containers.map(|name| ("container".to_owned(), name.to_string()));
        let details = details(resolver, &lookup, &digest, trail).await;
        for (name, value) in containers.chain(details) {
            text.push_str(&format!("\n    {name:<16}  {value}"));
        }
    }
    Ok(text)
}

/// Returns how the digest was found and what stands behind it, as names and values.
async fn details(
    resolver: &Resolver,
    lookup: &Lookup,
    digest: &Digest,
    trail: Option<Trail>,
) -> Vec<(String, String)> {
    let mut details = Vec::new();
    let mut tell = |name: &str, value: &dyn fmt::Display| {
        details.push((name.to_owned(), value.to_string()));
    };
    if let Some(trail) = &trail {
        tell("host", &trail.host());
        tell("credential", trail.source());
        for problem in trail.problems() {
            tell("not tried", &Chain(problem));
        }
        if let count @ 1.. = trail.untold_problems() {
            tell("not tried", &format_args!("{count} more"));
        }
        tell("request", &trail.deciding());
    }
    match resolver.manifest(lookup, digest).await {
        Ok(manifest) if manifest.is_index() => {
            for (built_for, child) in manifest.platforms() {
                match built_for {
                    Some(platform) => tell(&platform.to_string(), child),
                    None => tell("any platform", child),
                }
            }
        }
        Ok(_) => tell("platforms", &"one image, no index"),
        Err(error) => tell("platforms", &Chain(&error)),
    }
    if let Some(allowance) = resolver.allowance(&lookup.image).await {
        tell("rate limit", &left(&allowance));
    }
    details
}

/// Says what is left of a rate limit.
fn left(allowance: &Allowance) -> String {
    let Allowance {
        remaining,
        limit,
        window,
    } = allowance;
    let of = limit.map_or(String::new(), |limit| format!(" of {limit}"));
    format!("{remaining}{of} requests left in {} s", window.as_secs())
}
