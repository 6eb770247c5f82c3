//! Differences with their intervals below one another, beside a line at 0 ("forest plot").

use plotters::prelude::*;

use super::{COLOURS, Drawn, SIZE, range, short};

/// Pixels of a row, and of what is above and below all rows.
const ROW: (u32, u32) = (32, 90);
/// Pixels of a character of a row's name at most.
const CHARACTER: u32 = 8;

/// Differences of one measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forest {
    /// Above it.
    pub title: String,
    /// What is measured, with its unit.
    pub measure: String,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

/// A difference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Of what.
    pub name: String,
    /// The difference.
    pub value: f64,
    /// The lower end of its interval.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

/// The forests below one another, as an SVG file.
///
/// # Errors
/// What the drawing said.
pub fn svg(forests: &[Forest]) -> Result<String, String> {
    let mut text = String::new();
    {
        let heights: Vec<u32> = forests.iter().map(Forest::height).collect();
        let size = (SIZE.0, heights.iter().sum::<u32>().max(1));
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        let mut rest = root.clone();
        for (forest, height) in forests.iter().zip(heights) {
            let (area, below) = rest.split_vertically(height);
            forest.draw(&area).map_err(|error| error.to_string())?;
            rest = below;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(text)
}

impl Forest {
    fn height(&self) -> u32 {
        ROW.1 + ROW.0 * self.rows.len() as u32
    }

    fn draw<'a>(&self, area: &super::Area<'a>) -> Drawn<'a> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let ends = self.rows.iter().flat_map(|row| [row.lower, row.upper]);
        let across = range(ends.chain([0.0]), 0.05);
        // an axis goes up, and rows are read from the top
        let rows: Vec<&Row> = self.rows.iter().rev().collect();
        let longest = rows.iter().map(|row| row.name.chars().count()).max();
        let names = (longest.unwrap_or(0) as u32 * CHARACTER + 16).min(SIZE.0 / 3);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(names)
            .build_cartesian_2d(across, (0..rows.len()).into_segmented())?;
        chart
            .configure_mesh()
            .x_desc(&self.measure)
            .x_label_formatter(&|x| short(*x))
            .y_labels(rows.len())
            .y_label_formatter(&|place| match place {
                SegmentValue::CenterOf(place) => {
                    rows.get(*place).map_or(String::new(), |row| row.name.clone())
                }
                _ => String::new(),
            })
            .disable_y_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()?;
        let nothing = [(0.0, SegmentValue::Exact(0)), (0.0, SegmentValue::Last)];
        chart.draw_series(std::iter::once(PathElement::new(nothing, RGBColor(90, 90, 90))))?;
        let colour = COLOURS[0];
        for (place, row) in rows.iter().enumerate() {
            let at = |value: f64| (value, SegmentValue::CenterOf(place));
            let interval = [at(row.lower), at(row.upper)];
            chart.draw_series(std::iter::once(PathElement::new(
                interval,
                colour.stroke_width(2),
            )))?;
            chart.draw_series(std::iter::once(Circle::new(at(row.value), 4, colour.filled())))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_their_order_with_their_intervals() {
        let row = |name: &str, value: f64| Row {
            name: name.to_owned(),
            value,
            lower: value - 1.0,
            upper: value + 2.0,
        };
        let forest = Forest {
            title: "osteoporosis".to_owned(),
            measure: "hundredths of AUROC".to_owned(),
            rows: vec![row("rotation", 0.5), row("flip", -1.0), row("noise", 0.0)],
        };
        let text = svg(&[forest.clone(), Forest::default()]).unwrap();
        let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name}: {text}"));
        at("osteoporosis");
        at("hundredths of AUROC");
        // where a name stands from the top
        let height = |name: &str| -> f64 {
            let element = text[..at(name)].rfind("<text").unwrap();
            let value = text[element..].split("y=\"").nth(1).unwrap();
            value.split('"').next().unwrap().parse().unwrap()
        };
        assert!(height("rotation") < height("flip") && height("flip") < height("noise"));
        assert_eq!(text.matches("<circle").count(), 3);
        assert_eq!(text, svg(&[forest, Forest::default()]).unwrap());
    }
}
