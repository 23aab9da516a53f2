//! Whether docs/performance.md is what its figures say, and the tests of the parts of the benchmark that measure
//! nothing.

use std::fs;
use std::path::Path;

use enclave_operator_testing::bench::figures::Figure;
use enclave_operator_testing::bench::growth::{self, FIGURES, Growth, Of};
use enclave_operator_testing::bench::report;
use enclave_operator_testing::bench::settings::Row;

#[test]
fn the_report_is_what_its_figures_say() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let figures = fs::read_to_string(docs.join("performance.json")).unwrap();
    let rendered = report::rendered(&figures).unwrap();
    let report = fs::read_to_string(docs.join("performance.md")).unwrap();
    let differs = report.lines().zip(rendered.lines()).find(|(is, should)| is != should);
    assert_eq!(differs, None, "write it anew: make bench-report");
    assert_eq!(report, rendered, "write it anew: make bench-report");
}

const WALL: (Row, &str, Of) = FIGURES[0];

fn figure((row, what, _): (Row, &str, Of), size: usize, measured: f64) -> Figure {
    Figure::new(row, size, what, "", measured)
}

#[test]
fn what_grows_with_the_enclaves_does_not_grow_for_each() {
    let figures = [figure(WALL, 100, 100.0), figure(WALL, 300, 450.0), figure(WALL, 3000, 3750.0)];
    assert_eq!(Growth::of(&figures, WALL), Some(Growth { at: 3000, factor: 1.25 }));
    assert_eq!(Growth::of(&figures[..2], WALL), Some(Growth { at: 300, factor: 1.5 }));
}

#[test]
fn what_is_about_one_is_compared_as_it_is() {
    let cpu = FIGURES[2];
    let figures = [figure(cpu, 100, 2.0), figure(cpu, 1000, 3.0)];
    assert_eq!(Growth::of(&figures, cpu), Some(Growth { at: 1000, factor: 1.5 }));
}

#[test]
fn there_is_no_growth_without_two_sizes() {
    for sizes in [&[100][..], &[300, 1000], &[100, 10_000], &[30, 100]] {
        let figures: Vec<Figure> = sizes.iter().map(|size| figure(WALL, *size, 1.0)).collect();
        assert_eq!(Growth::of(&figures, WALL), None, "{sizes:?}");
    }
    let other = [figure(WALL, 100, 1.0), figure(FIGURES[1], 300, 1.0)];
    assert_eq!(Growth::of(&other, WALL), None, "another figure is another thing");
    assert_eq!(Growth::of(&[figure(WALL, 100, 0.0), figure(WALL, 300, 1.0)], WALL), None);
}

#[test]
fn the_table_has_the_runs_that_say_something() {
    let one = [figure(WALL, 100, 1.0)];
    let several = [figure(WALL, 100, 10.0), figure(WALL, 1000, 131.0)];
    let text = growth::markdown([("one", &one[..]), ("several", &several[..])]);
    assert!(text.contains("\n| row | | goal | several |\n|---|---|---|---|\n"), "{text}");
    assert!(text.contains("\n| provisioning | wall | ≤ 1.3 × | 1.31 × at 1000 **miss** |\n"), "{text}");
    assert!(text.ends_with("\n| restart | processor time of a start | ≤ 1.3 × |  |\n"), "{text}");
    assert_eq!(growth::markdown([("one", &one[..])]), "");
}
