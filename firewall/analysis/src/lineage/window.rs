//! Windows: what their partitions, orders and frames tell.

use super::Lineage;
use crate::parse::ast::{
    NamedWindowDefinition, NamedWindowExpr, OrderByExpr, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

impl Lineage<'_, '_, '_, '_> {
    pub(super) fn window(&mut self, window: &WindowType) {
        match window {
            WindowType::WindowSpec(spec) => self.window_spec(spec),
            // Its definition is read where it stands.
            WindowType::NamedWindow(_) => {}
        }
    }

    pub(super) fn named_windows(&mut self, windows: &[NamedWindowDefinition]) {
        for NamedWindowDefinition(_, definition) in windows {
            match definition {
                NamedWindowExpr::NamedWindow(_) => {}
                NamedWindowExpr::WindowSpec(spec) => self.window_spec(spec),
            }
        }
    }

    fn window_spec(&mut self, spec: &WindowSpec) {
        let WindowSpec { window_name: _, partition_by, order_by, window_frame } = spec;
        for key in partition_by {
            self.key(key, "PARTITION BY");
        }
        self.order_keys(order_by, "window ORDER BY");
        if let Some(WindowFrame { units: _, start_bound, end_bound }) = window_frame {
            for bound in std::iter::once(start_bound).chain(end_bound) {
                match bound {
                    WindowFrameBound::CurrentRow => {}
                    WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => {
                        if let Some(offset) = offset {
                            self.asked(offset, "window frame");
                        }
                    }
                }
            }
        }
    }

    /// Keys of an order that no output name can stand for.
    pub(super) fn order_keys(&mut self, keys: &[OrderByExpr], construct: &str) {
        for OrderByExpr { expr, options: _, with_fill } in keys {
            if with_fill.is_some() {
                self.broken = true;
            }
            self.asked(expr, construct);
        }
    }
}
