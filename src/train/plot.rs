//! Curves, and [intervals](forest), as SVG, by `plotters`: the only home of that crate, and the one way in which this project draws them.
//!
//! Equal input gives equal bytes. A logarithmic axis is a linear one over logarithms, with labels that undo them.

use std::ops::Range;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub mod forest;

/// Pixels of a chart.
const SIZE: (u32, u32) = (860, 300);
/// Pixels of a legend's lines: how high each is, how long the stroke before its words, and how wide a character at most.
const LEGEND: (i32, i32, u32) = (20, 16, 8);
/// Curves of no more points show each of them.
const FEW_POINTS: usize = 40;
/// Blue, orange, green, red, purple, brown: told apart by the colour-blind (Tol 2021, "bright" and "muted").
const COLOURS: [RGBColor; 6] = [
    RGBColor(68, 119, 170),
    RGBColor(238, 119, 51),
    RGBColor(34, 136, 51),
    RGBColor(204, 51, 17),
    RGBColor(170, 51, 119),
    RGBColor(136, 102, 34),
];

/// One curve.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Places and values, from left to right.
    pub points: Vec<(f64, f64)>,
    /// For places from left to right the lower and upper end of an interval; may be empty.
    pub band: Vec<(f64, f64, f64)>,
}

/// Curves over one axis.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below it.
    pub horizontal: String,
    /// Beside it.
    pub vertical: String,
    /// Whether the horizontal axis is logarithmic: its places must then be above 0.
    pub logarithmic: bool,
    /// Ends of the horizontal axis; without them those of the points.
    pub ends: Option<(f64, f64)>,
    /// The curves.
    pub series: Vec<Series>,
    /// Places with a line from bottom to top, and what they are.
    pub marks: Vec<(f64, String)>,
}

/// The charts below one another, as an SVG file.
///
/// # Errors
/// What the drawing said; charts without a finite point are drawn empty.
pub fn svg(charts: &[Chart]) -> Result<String, String> {
    let mut text = String::new();
    {
        let size = (SIZE.0, SIZE.1 * charts.len().max(1) as u32);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        // beside the charts, where it covers nothing, and as wide for all, so that their axes stand below one another
        let legend = charts.iter().map(Chart::legend_width).max().unwrap_or(0);
        for (chart, area) in charts.iter().zip(root.split_evenly((charts.len().max(1), 1))) {
            let (curves, side) = area.split_horizontally(SIZE.0 - legend);
            chart.draw(&curves).map_err(|error| error.to_string())?;
            chart.draw_legend(&side).map_err(|error| error.to_string())?;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

impl Chart {
    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        let place = |x: f64| if self.logarithmic { x.log10() } else { x };
        let points = || self.series.iter().flat_map(|series| &series.points);
        let bands = || self.series.iter().flat_map(|series| &series.band);
        let ends = self.ends.iter().flat_map(|(first, last)| [*first, *last]);
        let marks = self.marks.iter().map(|mark| mark.0);
        let across = range(
            points().map(|point| point.0).chain(marks).chain(ends).map(place),
            0.0,
        );
        let up = range(
            points()
                .map(|point| point.1)
                .chain(bands().flat_map(|band| [band.1, band.2])),
            0.05,
        );
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(across.clone(), up.clone())?;
        chart
            .configure_mesh()
            .x_desc(&self.horizontal)
            .y_desc(&self.vertical)
            .x_label_formatter(&|x| {
                if self.logarithmic {
                    format!("{:.0e}", 10_f64.powf(*x))
                } else {
                    short(*x)
                }
            })
            .y_label_formatter(&|y| short(*y))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            if !series.band.is_empty() {
                let upper = series.band.iter().map(|(x, _, high)| (place(*x), *high));
                let lower = series.band.iter().rev().map(|(x, low, _)| (place(*x), *low));
                let outline: Vec<_> = upper.chain(lower).collect();
                chart.draw_series(std::iter::once(Polygon::new(outline, colour.mix(0.15).filled())))?;
            }
            let line: Vec<(f64, f64)> = series
                .points
                .iter()
                .map(|(x, y)| (place(*x), *y))
                .filter(|(x, y)| x.is_finite() && y.is_finite())
                .collect();
            if line.len() <= FEW_POINTS {
                chart.draw_series(line.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
            chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
        }
        let grey = RGBColor(90, 90, 90);
        for (at, name) in &self.marks {
            let at = place(*at);
            chart.draw_series(LineSeries::new([(at, up.start), (at, up.end)], grey))?;
            let style = ("sans-serif", 13)
                .into_font()
                .color(&grey)
                .pos(Pos::new(HPos::Right, VPos::Top));
            chart.draw_series(std::iter::once(Text::new(
                format!("{name} "),
                (at, up.end),
                style,
            )))?;
        }
        Ok(())
    }
}

impl Chart {
    /// Pixels that the legend takes; none where there is one curve, which the title names.
    fn legend_width(&self) -> u32 {
        if self.series.len() < 2 {
            return 0;
        }
        let names = self.series.iter().map(|series| series.name.chars().count());
        let longest = names.max().unwrap_or(0) as u32;
        (longest * LEGEND.2 + 2 * LEGEND.1 as u32).min(SIZE.0 / 3)
    }

    fn draw_legend<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        if self.legend_width() == 0 {
            return Ok(());
        }
        let (line, stroke, _) = LEGEND;
        let words = ("sans-serif", 13)
            .into_font()
            .color(&BLACK)
            .pos(Pos::new(HPos::Left, VPos::Center));
        let series = self.series.iter().zip(COLOURS.iter().cycle());
        for ((series, colour), place) in series.zip(2..) {
            let y = place * line;
            area.draw(&PathElement::new(
                vec![(0, y), (stroke, y)],
                colour.stroke_width(2),
            ))?;
            area.draw(&Text::new(series.name.clone(), (stroke + 6, y), words.clone()))?;
        }
        Ok(())
    }
}

/// From the least to the greatest, with a share of it left free at both ends.
fn range(values: impl Iterator<Item = f64>, free: f64) -> Range<f64> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values.filter(|value| value.is_finite()) {
        (low, high) = (low.min(value), high.max(value));
    }
    if low > high {
        return 0.0..1.0;
    }
    let room = if high > low { free * (high - low) } else { 0.5 };
    low - room..high + room
}

/// A number in as few characters as tell it apart.
fn short(value: f64) -> String {
    // steps of an axis miss 0 by rounding
    let value = if value.abs() < 1e-12 { 0.0 } else { value };
    if value != 0.0 && (value.abs() < 0.01 || value.abs() >= 10_000.0) {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_holds_its_words_and_every_point() {
        let chart = Chart {
            title: "Loss & more".to_owned(),
            horizontal: "rate".to_owned(),
            vertical: "loss".to_owned(),
            logarithmic: true,
            ends: Some((1e-4, 1.0)),
            series: vec![
                Series {
                    name: "first".to_owned(),
                    points: vec![(1e-3, 0.5), (1e-2, f64::NAN), (1e-1, 0.2)],
                    band: Vec::new(),
                },
                Series {
                    name: "second".to_owned(),
                    points: vec![(1e-3, 0.4)],
                    band: vec![(1e-3, 0.3, 0.5), (1e-1, 0.1, 0.2)],
                },
            ],
            marks: vec![(1e-2, "valley".to_owned())],
        };
        let text = svg(&[chart.clone(), Chart::default()]).unwrap();
        for word in [
            "Loss &amp; more",
            "rate",
            "first",
            "second",
            "valley",
            "1e-2",
            "<polygon",
            "<circle",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(text, svg(&[chart, Chart::default()]).unwrap());
    }

    /// The legend had covered the end of an interval.
    #[test]
    fn a_legend_stands_beside_the_curves() {
        let series = |name: &str| Series {
            name: name.to_owned(),
            points: vec![(0.0, 0.5), (1.0, 0.5)],
            band: vec![(0.0, 0.0, 1.0), (1.0, 0.0, 1.0)],
        };
        let chart = Chart {
            series: vec![series("osteoporosis AUROC"), series("fracture AUROC")],
            ..Chart::default()
        };
        let text = svg(&[chart]).unwrap();
        // the numbers of an attribute of every element that begins with `tag`
        let numbers = |tag: &str, attribute: &str| -> Vec<f64> {
            let elements = text.split(tag).skip(1);
            let values = elements.filter_map(|rest| rest.split(attribute).nth(1)?.split('"').next());
            let points = values.flat_map(|value| value.split(' '));
            let across = points.filter_map(|point| point.split(',').next()?.parse().ok());
            across.collect()
        };
        let furthest = numbers("<polygon", "points=\"").into_iter().fold(0.0, f64::max);
        let words = text
            .split("<text")
            .find(|rest| rest.contains("fracture AUROC"))
            .unwrap();
        let words: f64 = words
            .split("x=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(furthest > 600.0 && furthest < words - 20.0, "{furthest} {words}");
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(
            [0.5, 12.0, 0.004, 0.0, -3.5e-16, 31_000.0].map(short),
            ["0.5", "12", "4e-3", "0", "0", "3.1e4"]
        );
    }
}
