//! Commands that need no network.

use crate::support::{CONTENT, Home, NOBODY, Ran, mode};

#[test]
fn help_teaches() {
    let home = Home::new();
    let help = home.run(&["--help"]).ok();
    for text in ["Exit codes:", "find-providers", "130 interrupted"] {
        assert!(help.contains(text), "{help}");
    }
    for command in [
        "serve",
        "devnet",
        "find-peer",
        "find-providers",
        "provide",
        "get",
        "put",
        "closest",
        "ping",
        "key",
        "decode",
        "sim",
    ] {
        let help = home.run(&[command, "--help"]).ok();
        assert!(help.contains("Examples:"), "{help}");
        assert!(help.contains("--json"), "{help}");
    }
    assert!(home.run(&["--version"]).ok().starts_with("kadmos "));
    let nothing = home.run(&[]);
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(2), ""));
    assert!(nothing.err.contains("Usage: kadmos"), "{}", nothing.err);
}

#[test]
fn keys_are_made_shown_and_never_replaced() {
    let home = Home::new();
    home.run(&["key", "show"]).failed(3, "run `kadmos key new`");
    home.run(&["id"]).failed(3, "run `kadmos key new`");
    let made = home.run(&["key", "new", "--json"]).json().remove(0);
    assert_eq!(made["schema"], "kadmos.key/1");
    assert_eq!(mode(&home.file("identity.key")), 0o600);
    assert_eq!(mode(&home.path()), 0o700);
    let shown = home.run(&["key", "show", "--json"]).json().remove(0);
    assert_eq!(shown, made);
    let id = home.run(&["id", "--json"]).json().remove(0);
    assert_eq!((&id["id"], &id["running"]), (&made["id"], &false.into()));
    home.run(&["key", "new"]).failed(6, "exists, and a key cannot be made again");
    let secret = std::fs::read_to_string(home.file("identity.key")).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    assert!(!made.to_string().contains(secret), "the private half was shown");
}

#[test]
fn keys_move_between_directories_and_from_kubo() {
    let (home, other) = (Home::new(), Home::new());
    home.run(&["key", "new", "--type", "secp256k1"]).ok();
    let made = home.run(&["id", "--json"]).json().remove(0);
    assert_eq!(made["key_type"], "secp256k1");
    let file = home.file("identity.key");
    let imported = other.run(&["key", "import", file.to_str().unwrap(), "--json"]).json().remove(0);
    assert_eq!(imported["id"], made["id"]);
    other.run(&["key", "import", file.to_str().unwrap()]).failed(6, "exists");

    let text = std::fs::read_to_string(&file).unwrap();
    let private = text.lines().nth(1).unwrap();
    let config = format!(r#"{{"Identity":{{"PeerID":{},"PrivKey":"{private}"}}}}"#, made["id"]);
    let third = Home::new();
    let path = third.write("kubo-config", &config);
    let imported =
        third.run(&["key", "import", "--kubo-config", path.to_str().unwrap(), "--json"]).json().remove(0);
    assert_eq!(imported["id"], made["id"]);

    let fourth = Home::new();
    let path = fourth.write("kubo-config", config.replace(made["id"].as_str().unwrap(), NOBODY));
    fourth
        .run(&["key", "import", "--kubo-config", path.to_str().unwrap()])
        .failed(2, "expected Identity.PeerID to be");
    let path = fourth.write("noise", [7; 10]);
    fourth.run(&["key", "import", path.to_str().unwrap()]).failed(2, "expected a private key");
    fourth.run(&["key", "import"]).failed(2, "not provided");
}

#[test]
fn an_identity_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    home.run(&["key", "new"]).ok();
    std::fs::set_permissions(home.file("identity.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["serve"]).failed(1, "run `chmod 600 ");
}

#[test]
fn a_key_file_is_made_once() {
    let home = Home::new();
    std::fs::create_dir_all(home.path()).unwrap();
    let path = home.file("site.key");
    home.run(&["key", "new", "--out", path.to_str().unwrap()]).ok();
    assert_eq!(mode(&path), 0o600);
    home.run(&["key", "new", "--out", path.to_str().unwrap()]).failed(6, "choose another name");
    let shown = home.run(&["key", "show", path.to_str().unwrap()]).ok();
    assert!(shown.contains("ed25519"), "{shown}");
}

#[test]
fn things_are_decoded_from_text_files_and_pipes() {
    let home = Home::new();
    let decoded = home.run(&["decode", CONTENT, "--json"]).json().remove(0);
    assert_eq!((&decoded["schema"], &decoded["codec"]), (&"kadmos.decoded/1".into(), &"raw".into()));
    // FIND_NODE for an 8-byte key, with its length in front as on a stream.
    let message = home.write("message", b"\x0c\x08\x04\x12\x08\x01\x02\x03\x04\x05\x06\x07\x08");
    let text = home.run(&["decode", &format!("@{}", message.display())]).ok();
    assert!(text.contains("type: find_node") && text.contains("hex: 0102030405060708"), "{text}");
    let mut command = home.command(&["decode", "-"]);
    command.stdin(std::fs::File::open(&message).unwrap());
    assert_eq!(Ran::of(&mut command).ok(), text);
    home.run(&["decode", "--as", "message", "ff"]).failed(2, "expected a DHT message");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure_to_report() {
    let home = Home::new();
    let mut child = home
        .command(&["decode", CONTENT])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// Every command, option and form of output has its place in `docs/cli.md`.
#[test]
fn the_page_knows_what_the_program_does() {
    let page = include_str!("../../../../docs/cli.md");
    let home = Home::new();
    let help = home.run(&["--help"]).ok();
    let (commands, options) = help.split_once("Options:").unwrap();
    let (_, commands) = commands.split_once("Commands:").unwrap();
    let first_words = |text: &str, indent: &str| -> Vec<String> {
        let words = text.lines().filter_map(|line| line.strip_prefix(indent));
        let words =
            words.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
        words.map(String::from).collect()
    };
    let commands = first_words(commands, "  ");
    assert_eq!(commands.len(), 15, "{commands:?}");
    for command in commands {
        assert!(page.contains(&format!("`{command}")), "no {command} in docs/cli.md");
    }
    for option in options.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2) {
        let option = option.trim_end_matches(['.', ',']);
        if option != "--help" && option != "--version" {
            assert!(page.contains(&format!("`{option}")), "no {option} in docs/cli.md");
        }
    }
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut forms = Vec::new();
    let mut directories = vec![sources];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(entry.path()),
                false => {
                    let text = std::fs::read_to_string(entry.path()).unwrap();
                    forms.extend(
                        text.split('"')
                            .filter(|it| it.starts_with("kadmos.") && it.ends_with("/1"))
                            .map(String::from),
                    );
                }
            }
        }
    }
    assert!(forms.len() > 15, "{forms:?}");
    for form in forms {
        assert!(page.contains(&form), "no {form} in docs/cli.md");
    }
}
