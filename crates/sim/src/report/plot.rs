//! Plots as SVG within the page, in the page's colours: they follow dark mode and print.

use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::figures::{Axis, Chart, Unit};
use super::timeline::hour_marks;
use super::words;

/// Width and height of a plot, in its own units: on a telephone they are shown at about two thirds of a pixel.
const SIZE: (u32, u32) = (520, 300);
/// Height of the letters.
const LETTER: u32 = 17;
/// Lines of one plot.
pub(super) const LINES_MAX: usize = 8;
/// Stand for the page's colours until the plot is drawn.
const INK: RGBColor = RGBColor(0, 0, 1);
const GRID: RGBColor = RGBColor(0, 0, 2);
/// How much of the blue part of a colour is a line's number.
const FIRST_LINE: u8 = 16;
/// Points that a line has at the most; more could not be told apart.
const POINTS_MAX: usize = 600;

/// Digits that count of a number on a logarithmic axis.
const DIGITS: f64 = 6.0;
/// How much wider than the last line another is at the most.
const WIDER_MAX: usize = 3;

/// Why a plot was not drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plot `{title}` cannot be drawn: {reason}")]
pub struct PlotError {
    title: String,
    reason: String,
}

/// The plot of a chart; none if it has no point.
pub(super) fn svg(chart: &Chart) -> Result<Option<String>, PlotError> {
    let failed = |error: String| PlotError { title: chart.title.clone(), reason: error };
    let (Some(x), Some(y)) =
        (Scale::of(chart, |point| point.0, &chart.x, false), Scale::of(chart, |point| point.1, &chart.y, true))
    else {
        return Ok(None);
    };
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, SIZE).into_drawing_area();
        draw(&area, chart, x, y).map_err(|error| failed(error.to_string()))?;
        area.present().map_err(|error| failed(error.to_string()))?;
    }
    Ok(Some(in_page_colours(&out, chart)))
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    chart: &Chart,
    x: Scale,
    y: Scale,
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let mut plot = ChartBuilder::on(area)
        .margin(4)
        .margin_right(18)
        .x_label_area_size(LETTER * 3)
        .y_label_area_size(LETTER * 5)
        .build_cartesian_2d(x, y)?;
    let font = ("sans-serif", LETTER).into_font().color(&INK);
    let (x_unit, y_unit, x_log, y_log) = (chart.x.unit, chart.y.unit, chart.x.log, chart.y.log);
    plot.configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(font.clone())
        .axis_desc_style(font)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|number| words::on_axis(unscaled(*number, x_log), x_unit))
        .y_label_formatter(&|number| words::on_axis(unscaled(*number, y_log), y_unit))
        .x_desc(&chart.x.label)
        .draw()?;
    let lines = chart.lines.len().min(LINES_MAX);
    for (at, line) in chart.lines.iter().take(LINES_MAX).enumerate() {
        let colour = RGBColor(0, 0, FIRST_LINE + at as u8);
        let points: Vec<(f64, f64)> =
            thinned(&line.points).filter_map(|(x, y)| Some((scaled(x, x_log)?, scaled(y, y_log)?))).collect();
        let dots = points.len() <= 16;
        // a line that runs under a later one shows at its sides
        let width = if dots { 2 } else { 2 + (lines - 1 - at).min(WIDER_MAX) as u32 };
        plot.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(width)))?;
        if dots {
            plot.draw_series(points.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
        }
    }
    Ok(())
}

/// Every so-manieth point, and the last.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let step = points.len().div_ceil(POINTS_MAX).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(move |(at, _)| at % step == 0 || *at == last).map(|(_, point)| *point)
}

fn scaled(number: f64, log: bool) -> Option<f64> {
    let number = if log { (number > 0.0).then(|| number.log10())? } else { number };
    number.is_finite().then_some(number)
}

fn unscaled(number: f64, log: bool) -> f64 {
    if !log {
        return number;
    }
    // five is to be told as 5, not as the 4.999999 that its logarithm gives back
    let (power, scale) = (10_f64.powf(number), 10_f64.powf(DIGITS - number.floor()));
    (power * scale).round() / scale
}

/// A range of an axis and the places of its labels: whole powers of ten where it is logarithmic.
struct Scale {
    range: RangedCoordf64,
    ends: (f64, f64),
    log: bool,
    hours: bool,
}

impl Scale {
    fn of(chart: &Chart, part: impl Fn(&(f64, f64)) -> f64, axis: &Axis, from_zero: bool) -> Option<Scale> {
        let lines = chart.lines.iter().take(LINES_MAX);
        let numbers = lines.flat_map(|line| &line.points).filter_map(|point| scaled(part(point), axis.log));
        let (least, most) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), n| (a.min(n), b.max(n)));
        if least > most {
            return None;
        }
        let mut ends = match (axis.log, from_zero) {
            (true, true) => (least.floor(), most.ceil()),
            (true, false) => (least, most),
            (false, true) if axis.unit == Unit::Share => (0.0, most.max(1.0)),
            (false, true) => (least.min(0.0), most * 1.05),
            (false, false) => (least, most),
        };
        if ends.0 >= ends.1 {
            ends = (ends.0 - if axis.log { 0.5 } else { 0.0 }, ends.0 + 1.0);
        }
        Some(Scale { range: (ends.0..ends.1).into(), ends, log: axis.log, hours: axis.unit == Unit::Hours })
    }
}

impl Ranged for Scale {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if self.hours {
            return hour_marks(self.ends.0, self.ends.1);
        }
        if !self.log {
            return self.range.key_points(hint);
        }
        let (from, until) = (self.ends.0.floor() as i32, self.ends.1.ceil() as i32);
        let steps: &[f64] = if until - from <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = usize::try_from(until - from).unwrap_or(0) / 6 + 1;
        (from..=until)
            .step_by(every)
            .flat_map(|power| steps.iter().map(move |step| f64::from(power) + step.log10()))
            .filter(|number| *number >= self.ends.0 - 1e-9 && *number <= self.ends.1 + 1e-9)
            .collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.ends.0..self.ends.1
    }
}

impl ValueFormatter<f64> for Scale {
    fn format(value: &f64) -> String {
        words::plain(*value)
    }
}

/// Puts the page's colours where placeholders stand, lets the page decide the size, and says in words what is drawn.
fn in_page_colours(svg: &str, chart: &Chart) -> String {
    let mut out = svg.replace("\"#000001\"", "\"var(--ink-soft)\"").replace("\"#000002\"", "\"var(--rule)\"");
    for line in 0..LINES_MAX {
        let colour = format!("\"#0000{:02X}\"", FIRST_LINE + line as u8);
        out = out.replace(&colour, &format!("\"var(--line-{})\"", line + 1));
    }
    let size = format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1);
    let names: Vec<&str> = chart.lines.iter().take(LINES_MAX).map(|line| line.name.as_str()).collect();
    let told = format!(
        "role=\"img\" aria-label=\"{}\"><title>{}</title><desc>{} against {}, for {}.</desc>",
        words::escaped(&chart.title),
        words::escaped(&chart.title),
        words::escaped(&chart.y.label),
        words::escaped(&chart.x.label),
        words::escaped(&names.join(", ")),
    );
    let out = out.replacen(&size, "", 1);
    match out.find("<svg").and_then(|from| out[from..].find('>').map(|end| (from, from + end))) {
        Some((from, end)) => format!("{} {told}{}", &out[from..end], &out[end + 1..]),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_a_logarithmic_axis_read_as_they_are_meant() {
        for (number, told) in [(5.0, "5"), (2e6, "2 M"), (0.05, "0.050"), (20_000.0, "20,000")] {
            assert_eq!(words::on_axis(unscaled(scaled(number, true).unwrap(), true), Unit::Plain), told);
        }
    }
}
