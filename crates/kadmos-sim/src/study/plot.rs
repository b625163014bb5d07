//! Figures as SVG.

use plotters::prelude::*;

use super::report::{Figure, Series};

/// Pixels.
const SIZE: (u32, u32) = (900, 560);
/// Told apart by people who see colours differently, too. Source: Okabe and Ito, 2008.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(120, 120, 120),
];

/// A figure could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the figure {figure} cannot be drawn: {reason}")]
pub struct PlotError {
    /// Which figure.
    pub figure: String,
    /// What the plotting library said.
    pub reason: String,
}

/// The figure as an SVG document.
///
/// Errors: [`PlotError`] when no point can be shown, or the library refuses.
pub fn svg(figure: &Figure) -> Result<String, PlotError> {
    let failed = |reason: String| PlotError { figure: figure.name.clone(), reason };
    let mut document = String::new();
    let drawn = if figure.log_x {
        let (from, to) = range(figure, |(x, _)| *x, true).ok_or_else(|| failed("it has no points".into()))?;
        draw(&mut document, figure, (from..to).log_scale(), |x| x.max(from))
    } else {
        let (from, to) =
            range(figure, |(x, _)| *x, false).ok_or_else(|| failed("it has no points".into()))?;
        draw(&mut document, figure, from..to, |x| x)
    };
    drawn.map_err(failed)?;
    Ok(document)
}

fn draw<X>(
    document: &mut String,
    figure: &Figure,
    x_range: X,
    clamp: impl Fn(f64) -> f64,
) -> Result<(), String>
where
    X: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    X::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
{
    let (_, y_max) = range(figure, |(_, y)| *y, false).unwrap_or((0.0, 1.0));
    let root = SVGBackend::with_string(document, SIZE).into_drawing_area();
    let text = |error: DrawingAreaErrorKind<_>| error.to_string();
    root.fill(&WHITE).map_err(text)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(&figure.title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(x_range, 0.0..y_max.max(f64::MIN_POSITIVE))
        .map_err(text)?;
    chart
        .configure_mesh()
        .x_desc(&figure.x)
        .y_desc(&figure.y)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .light_line_style(WHITE)
        .label_style(("sans-serif", 14))
        .draw()
        .map_err(text)?;
    for (index, Series { name, points }) in figure.series.iter().enumerate() {
        let style = colour(name, index).stroke_width(2);
        let points = points.iter().map(|(x, y)| (clamp(*x), *y));
        chart
            .draw_series(LineSeries::new(points, style))
            .map_err(text)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(180, 180, 180))
        .label_font(("sans-serif", 14))
        .draw()
        .map_err(text)?;
    root.present().map_err(text)
}

/// A contender has one colour in all figures; other curves take theirs in turn.
fn colour(name: &str, index: usize) -> RGBColor {
    const CONTENDERS: [&str; 5] = ["kadmos", "go", "rust-libp2p", "original", "go-optimistic"];
    let place = CONTENDERS.iter().position(|known| *known == name).unwrap_or(index);
    COLOURS[place % COLOURS.len()]
}

/// The ends of an axis, a little apart; a logarithmic one begins above 0.
fn range(figure: &Figure, value: impl Fn(&(f64, f64)) -> f64, positive: bool) -> Option<(f64, f64)> {
    let values = figure.series.iter().flat_map(|series| &series.points).map(value);
    let values = values.filter(|value| value.is_finite() && (!positive || *value > 0.0));
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    (low <= high).then(|| if low < high { (low, high) } else { (low * 0.5, high.abs() * 1.5 + 1e-9) })
}

/// `1.5 k`, `20`, `0.25`: no digit that says nothing.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_names_its_curves_and_axes() {
        let lists =
            [("go".into(), vec![100.0, 200.0, 4_000.0], 3), ("kadmos".into(), vec![50.0, 60.0, 90.0], 3)];
        let figure = Figure::shares("lookup", "time to first record", "milliseconds", lists);
        let document = svg(&figure).expect("points");
        assert!(document.starts_with("<svg") && document.trim_end().ends_with("</svg>"));
        for text in ["go", "kadmos", "milliseconds", "time to first record", "share of operations"] {
            assert!(document.contains(text), "{text}");
        }
        assert!(document.matches("<polyline").count() >= 2);
    }

    #[test]
    fn nothing_to_show_is_an_error_and_one_point_is_not() {
        let empty = Figure::shares("none", "t", "x", [("go".into(), vec![], 1)]);
        assert_eq!(svg(&empty).map_err(|error| error.figure), Err("none".into()));
        assert!(svg(&Figure::shares("one", "t", "x", [("go".into(), vec![7.0], 1)])).is_ok());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.25, 20.0, 1_500.0, 20_000.0, 2e6].map(short), ["0.25", "20", "1500", "20 k", "2 M"]);
    }
}
