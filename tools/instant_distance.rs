//! instant-distance by itself over the vectors of a catalog: its own graph, its
//! own search. What `pinnersage catalog check` is compared with.
//!
//! ```text
//! cargo run --release --example instant_distance -- --catalog DIR
//!     [--k 100] [--queries 1000] [--effort 200]
//! ```
//!
//! Prints one JSON object with the fields of `catalog check --json`, and what the
//! graph cost. Its effort is fixed when the graph is built, so `benches/peers/run`
//! cannot sweep it: one run is one row of a curve.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use instant_distance::{Builder, Point, Search};
use pinnersage::index::{Catalog, Exact};
use pinnersage::kernel;
use pinnersage::recommend::Retrieve;
use rayon::prelude::*;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    catalog: PathBuf,
    #[arg(long, default_value_t = 100)]
    k: usize,
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    #[arg(long, default_value_t = 200)]
    effort: usize,
}

#[derive(Clone)]
struct Row<'a>(&'a [f32]);

impl Point for Row<'_> {
    fn distance(&self, other: &Self) -> f32 {
        kernel::squared_l2(self.0, other.0)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let catalog = Catalog::open(&args.catalog)?;
    let (pins, vectors) = (&catalog.pins, catalog.pins.vectors());
    let places: Vec<usize> = (0..pins.ids().len()).collect();
    let rows = places
        .iter()
        .map(|&place| Row(vectors.row(pins.node(place))));
    let begun = Instant::now();
    let index = Builder::default()
        .ef_search(args.effort)
        .build(rows.collect(), places.clone());
    let build_seconds = begun.elapsed().as_secs_f64();

    let step = (places.len() / args.queries).max(1);
    let queries: Vec<usize> = places
        .into_iter()
        .step_by(step)
        .take(args.queries)
        .collect();
    let truth = |&place: &usize| {
        let own = pins.ids()[place];
        Exact(pins).neighbors_of(own, args.k, &|pin| pin != own)
    };
    let truth: Vec<_> = queries.par_iter().map(truth).collect();
    let mut search = Search::default();
    let mut found = Vec::new();
    let begun = Instant::now();
    for &place in &queries {
        let row = Row(vectors.row(pins.node(place)));
        let near = index.search(&row, &mut search).map(|item| *item.value);
        found.push(
            near.filter(|&near| near != place)
                .take(args.k)
                .collect::<Vec<_>>(),
        );
    }
    let seconds = begun.elapsed().as_secs_f64();
    let hits: usize = found
        .iter()
        .zip(&truth)
        .map(|(found, truth)| {
            let hit = |&&place: &&usize| truth.iter().any(|n| n.pin == pins.ids()[place]);
            found.iter().filter(hit).count()
        })
        .sum();
    let wanted: usize = truth.iter().map(Vec::len).sum();
    let line = serde_json::json!({
        "k": args.k,
        "effort": args.effort,
        "recall": hits as f64 / wanted as f64,
        "queries_per_second": queries.len() as f64 / seconds,
        "build_seconds": build_seconds,
    });
    println!("{line}");
    Ok(())
}
