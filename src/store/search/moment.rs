//! Values of VR DT, whole seconds of UTC in the words of both engines, as [`Period`] reads them.

use super::statement::Select;
use crate::dicom::date_time::Period;
use crate::store::database::Engine;

impl Select {
    /// Whether a value, whose first moment counts, is in a period. What is no such value is in none.
    pub(super) fn in_period(&mut self, column: &str, period: &Period) -> String {
        let no_other = |text: &str| match self.engine {
            Engine::Sqlite => format!("{text} NOT GLOB '*[^0-9]*'"),
            Engine::Postgres => format!("{text} !~ '[^0-9]'"),
        };
        let is_digits = format!("{} AND {}", no_other("whole"), no_other("substr(off, 2)"));
        let part = |text: &str, at: u8, length: u8| format!("CAST(substr({text}, {at}, {length}) AS BIGINT)");
        let (year, month, day) = (part("whole", 1, 4), part("whole", 5, 2), part("whole", 7, 2));
        // Fliegel and van Flandern, CACM 11 (10), 1968
        let late = format!("(({month} - 14) / 12)");
        let days = format!(
            "((1461 * ({year} + 4800 + {late})) / 4 + (367 * ({month} - 2 - 12 * {late})) / 12 \
             - (3 * (({year} + 4900 + {late}) / 100)) / 4 + {day} - 2472663)"
        );
        let (hour, minute, second) = (part("whole", 9, 2), part("whole", 11, 2), part("whole", 13, 2));
        let (hours, minutes) = (part("off", 2, 2), part("off", 4, 2));
        let seconds = format!(
            "({days} * 86400 + {hour} * 3600 + {minute} * 60 + {second} \
             - (CASE WHEN substr(off, 1, 1) = '-' THEN -1 ELSE 1 END) * ({hours} * 3600 + {minutes} * 60))"
        );
        let mut bounds = Vec::new();
        for (bound, comparison) in [(period.from, ">="), (period.to, "<=")] {
            if let Some(moment) = bound {
                let bound = self.number(moment.div_euclid(1_000_000));
                bounds.push(format!("{seconds} {comparison} {bound}"));
            }
        }
        let bounds = bounds.join(" AND ");
        // nothing is read as a number before it is known to be digits; with a limit, the innermost is looked at once, and not wherever it is used
        format!(
            "EXISTS (SELECT 1 FROM (SELECT substr(substr(local, 1, 14) || substr('00000101000000', length(substr(local, 1, 14)) + 1), 1, 14) \
             AS whole, off FROM (SELECT CASE WHEN has_off THEN substr(moment, 1, length(moment) - 5) ELSE moment END AS local, \
             CASE WHEN has_off THEN substr(moment, length(moment) - 4) ELSE '+0000' END AS off \
             FROM (SELECT moment, substr(moment, length(moment) - 4, 1) IN ('+', '-') AS has_off \
             FROM (SELECT trim({column}) AS moment LIMIT 1) AS a) AS b) AS c) AS d \
             WHERE CASE WHEN {is_digits} THEN {bounds} ELSE 1 = 0 END)"
        )
    }
}
