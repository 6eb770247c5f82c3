//! From a patch of an image to the points where it is multiplied, and from the products back to a tile of the result.

use pulp::Simd;

use super::{PATCH, TILE};

/// The values at the points of six pixels in a line.
#[inline(always)]
pub(crate) fn forward<S: Simd>(simd: S, pixels: [S::f32s; PATCH]) -> [S::f32s; PATCH] {
    let [p0, p1, p2, p3, p4, p5] = pixels;
    let times = |factor, value, more| simd.mul_add_e_f32s(simd.splat_f32s(factor), value, more);
    let (even, odd) = (times(-4.0, p2, p4), times(-4.0, p1, p3));
    let (even_of_two, odd_of_two) = (simd.sub_f32s(p4, p2), simd.sub_f32s(p3, p1));
    [
        times(4.0, p0, times(-5.0, p2, p4)),
        simd.add_f32s(even, odd),
        simd.sub_f32s(even, odd),
        times(2.0, odd_of_two, even_of_two),
        times(-2.0, odd_of_two, even_of_two),
        times(4.0, p1, times(-5.0, p3, p5)),
    ]
}

/// Four values of the result in a line of the products at its points.
#[inline(always)]
pub(crate) fn backward<S: Simd>(simd: S, products: [S::f32s; PATCH]) -> [S::f32s; TILE] {
    let [p0, p1, p2, p3, p4, p5] = products;
    let times = |factor, value, more| simd.mul_add_e_f32s(simd.splat_f32s(factor), value, more);
    let (even, odd) = (simd.add_f32s(p1, p2), simd.sub_f32s(p1, p2));
    let (even_of_two, odd_of_two) = (simd.add_f32s(p3, p4), simd.sub_f32s(p3, p4));
    [
        simd.add_f32s(p0, simd.add_f32s(even, even_of_two)),
        times(2.0, odd_of_two, odd),
        times(4.0, even_of_two, even),
        simd.add_f32s(p5, times(8.0, odd_of_two, odd)),
    ]
}
