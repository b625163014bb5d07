//! Small runs of every study: they end, break no promise, and say the same each time.

use super::*;

fn small(study: StudyName) -> StudyReport {
    let config = StudyConfig {
        quick: true,
        seed: 3,
        seeds: Some(1),
        servers: Some(100),
        work_percent: 10,
        go_servers_percent: 50,
    };
    run_study(study, &config, &mut |_| {}).expect("valid numbers")
}

/// Every row is full, every share is of something, every interval holds its number.
fn assert_sound(report: &StudyReport) {
    assert_eq!(report.violations, [] as [String; 0], "{}", report.study);
    assert!(
        !report.tables.is_empty() && report.events > 1_000 && report.virtual_ms > 1_000,
        "{}",
        report.study
    );
    for table in &report.tables {
        assert!(table.rows.len() >= 2, "{}", table.title);
        for row in &table.rows {
            assert_eq!(row.cells.len(), table.columns.len(), "{}", table.title);
            for cell in &row.cells {
                match cell {
                    Cell::Estimate { estimate: Estimate { value, low, high }, .. } => {
                        assert!(low <= value && value <= high, "{}: {}: {cell}", table.title, row.name);
                    }
                    Cell::Share { part, whole } => assert!(part <= whole && *whole > 0, "{}", table.title),
                    Cell::Number { value, .. } => assert!(value.is_finite(), "{}", table.title),
                    Cell::None => {}
                }
            }
        }
    }
    for figure in &report.figures {
        assert!(svg(figure).is_ok(), "{}", figure.name);
    }
}

#[test]
fn lookups_and_provides_are_measured_and_checked_against_published_times() {
    for study in [StudyName::Lookup, StudyName::Provide] {
        let report = small(study);
        assert_sound(&report);
        assert_eq!(report.checks.len(), 3, "p50, p90, p99");
        assert!(report.checks.iter().all(|check| check.measured > 0.0));
        assert!(report.to_string().contains("calibration"));
        let json = serde_json::to_string(&report).expect("plain data");
        let read = serde_json::from_str::<StudyReport>(&json).expect("what was written");
        assert!(read.to_string() == report.to_string() && read.figures.len() == report.figures.len());
    }
}

#[test]
fn a_study_says_the_same_each_time() {
    let [first, second] = [(); 2].map(|()| StudyReport { real_ms: 0, ..small(StudyName::Mute) });
    assert_sound(&first);
    assert!(first == second, "{first}{second}");
}

#[test]
fn the_original_finds_few_providers_and_the_others_all() {
    let report = small(StudyName::Lookup);
    for row in &report.tables[0].rows {
        let Some(Cell::Share { part, whole }) = row.cells.last() else { panic!("{row:?}") };
        assert_eq!(part == whole, row.name != "original", "{}: {part} of {whole}", row.name);
    }
}

#[test]
fn reports_are_files_with_their_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = small(StudyName::Ablation);
    assert_sound(&report);
    let report = StudyReport { figures: small(StudyName::Mute).figures, ..report };
    let written = write_folder(&report, &folder.path().join("new")).expect("a disk");
    assert_eq!(written.len(), 2 + report.figures.len());
    let text = std::fs::read_to_string(&written[0]).expect("what was written");
    assert!(
        text.starts_with(
            "kadmos sim study ablation --seed 3 --quick --seeds 1 --servers 100 --work-percent 10 --go-servers 50\n"
        ),
        "{text}"
    );
    let json = std::fs::read_to_string(&written[1]).expect("what was written");
    assert!(json.contains("\"schema\": \"kadmos.study/1\""));
    assert!(write_folder(&report, &written[0]).is_err(), "a file is no folder");
}

#[test]
fn names_and_numbers_are_checked_before_anything_runs() {
    for study in StudyName::ALL {
        assert_eq!(study.label().parse(), Ok(*study));
    }
    let unknown = "lokup".parse::<StudyName>().map_err(|error| error.to_string());
    assert!(unknown.is_err_and(|error| error.contains("\"lokup\"") && error.contains("ablation")));
    let run = |config| run_study(StudyName::Lookup, &config, &mut |_| {}).map(|_| ());
    let few = StudyConfig { servers: Some(99), ..StudyConfig::default() };
    assert_eq!(run(few), Err(StudyError::Servers { got: 99 }));
    let none = StudyConfig { seeds: Some(0), ..StudyConfig::default() };
    assert_eq!(run(none), Err(StudyError::Seeds));
    let idle = StudyConfig { work_percent: 0, ..StudyConfig::default() };
    assert_eq!(run(idle), Err(StudyError::Work));
}
