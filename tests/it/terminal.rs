//! What the commands print of data that came from anywhere: it never steers a terminal.

use crate::common;
use crate::common::World;
use crate::common::process::{Process, run, serve_command};
use serde_json::Value;

/// Colors, a bell, a line of its own, a C1 control that some terminals obey, and a turn of
/// the direction of reading.
const TITLE: &str = "tea\u{1b}[31m\u{7}\r\nroot# \u{9b}2J\t\u{7f}\u{202e}ti\u{2066}p\u{200f}";

fn assert_steers_nothing(printed: &str) {
    let steers = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || c != '\n' && c.is_control()
    };
    let found: Vec<char> = printed.chars().filter(|&c| steers(c)).collect();
    assert!(found.is_empty(), "{found:?} in {printed:?}");
}

#[test]
fn titles_of_pins_steer_no_terminal() {
    let world = World::files();
    let mut pins = common::pins();
    for pin in &mut pins {
        pin.title = TITLE.to_owned();
    }
    common::files::pins(&world.path("pins.parquet"), &pins);
    world.build_catalog("catalog", common::EMBEDDING_VERSION);
    world.build_profiles("catalog", "profiles", true);
    let server = Process::start(&mut serve_command(&world));
    for subcommand in ["recommend", "explain"] {
        let arguments = [subcommand, "--user", "1", "--server", &server.url];
        let text = run(arguments);
        assert_steers_nothing(&text);
        // Every title is in the line of its pin.
        assert!(text.contains(r"tea\u{1b}[31m\u{7}\r\nroot# "), "{text}");
        assert!(!text.contains("\nroot#"), "{text}");
        let json = run([&arguments[..], &["--json"]].concat());
        assert_steers_nothing(&json);
        let answer: Value = serde_json::from_str(&json).expect("JSON");
        let pins = match subcommand {
            "recommend" => &answer["candidates"],
            _ => &answer["interests"],
        };
        assert_eq!(pins[0]["title"], TITLE);
    }
    server.stop();
}
