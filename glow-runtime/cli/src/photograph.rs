//! A face somewhere in a photograph: the window around it that the model takes, and putting a change back.
use crate::failure::Misuse;
use anyhow::Result;
use glow_data::{Fit, Fitted, Misfit, fit_decoded};
use glow_runtime::Architecture;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, ImageBuffer, Rgb, RgbImage, RgbaImage};
use ndarray::ArrayView3;
use std::str::FromStr;

/// Where a face is in a photograph, in pixels from its upper left corner: from the hairline to the chin, and from
/// ear to ear, as face detectors give it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaceBox {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl FromStr for FaceBox {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[left, top, width, height])
                if [left, top, width, height].iter().all(|number| number.is_finite())
                    && width > 0.0
                    && height > 0.0 =>
            {
                Ok(Self { left, top, width, height })
            }
            _ => Err("give X,Y,WIDTH,HEIGHT in pixels, such as 120,80,90,120".into()),
        }
    }
}

/// The part of a photograph that the model takes, in pixels. It may reach beyond the photograph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    left: i64,
    top: i64,
    width: u32,
    height: u32,
}

/// How faces lie in the images that faces64 was trained on, in heights of the image: how high a face is from the
/// hairline to the chin, and where its middle is.
const FACE_HEIGHT: f64 = 0.65;
const FACE_MIDDLE: f64 = 0.6;

impl Window {
    /// The window in which the face lies as in the images that faces64 was trained on; it is never turned.
    ///
    /// # Errors
    /// The middle of the face is not in the photograph, or the face is larger than it.
    pub fn around(face: FaceBox, photograph: [u32; 2], model: &Architecture) -> Result<Self> {
        let height = face.height / FACE_HEIGHT;
        let width = height * model.width as f64 / model.height as f64;
        let (x, y) = (face.left + face.width / 2.0, face.top + face.height / 2.0);
        let (left, top) = (x - width / 2.0, y - height * FACE_MIDDLE);
        let [all_width, all_height] = photograph.map(f64::from);
        if !(0.0..all_width).contains(&x) || !(0.0..all_height).contains(&y) {
            let text =
                format!("--face: its middle is not in the photograph of {all_width}×{all_height} pixels");
            return Err(Misuse(text).into());
        }
        if face.width > all_width || face.height > all_height {
            let text = format!("--face: it is larger than the photograph of {all_width}×{all_height} pixels");
            return Err(Misuse(text).into());
        }
        let [left, top] = [left, top].map(|number| number.round() as i64);
        let [width, height] = [width, height].map(|number| number.round().max(1.0) as u32);
        Ok(Self { left, top, width, height })
    }

    /// The window that [`Fit`] takes of a photograph: its crop, and of that the middle.
    pub fn of(fit: Fit, [width, height]: [u32; 2]) -> Self {
        let [left, top, width, height] = fit.window([height as usize, width as usize]);
        Self { left: left as i64, top: top as i64, width: width as u32, height: height as u32 }
    }

    /// Its pixels, as the model takes them. Beyond the photograph its border goes on.
    ///
    /// # Errors
    /// It is smaller than the model's images.
    pub fn cut(&self, photograph: &DynamicImage, fit: Fit) -> Result<Fitted, Misfit> {
        let is_gray = !photograph.color().has_color();
        let photograph = photograph.to_rgba8();
        let part = RgbaImage::from_fn(self.width, self.height, |x, y| {
            let within = |place: i64, side: u32| place.clamp(0, i64::from(side) - 1) as u32;
            let [x, y] = [self.left + i64::from(x), self.top + i64::from(y)];
            *photograph.get_pixel(within(x, photograph.width()), within(y, photograph.height()))
        });
        let mut whole = fit;
        whole.preprocessing.crop = glow_models::Crop::WHOLE;
        let fitted = fit_decoded(part.into(), whole, 0)?;
        Ok(Fitted { was_gray: is_gray && fit.shape.channels == 3, ..fitted })
    }

    /// The photograph with the change from `before` to `after` in this window: their difference, enlarged, and
    /// fading out towards the window's border. What does not change keeps the photograph's own detail.
    pub fn change(
        &self,
        photograph: &DynamicImage,
        before: ArrayView3<'_, u8>,
        after: ArrayView3<'_, u8>,
    ) -> RgbImage {
        let (height, width, channels) = before.dim();
        // `resize` holds floats to 0 … 1.
        let difference = ImageBuffer::<Rgb<f32>, _>::from_fn(width as u32, height as u32, |x, y| {
            let at = |channel: usize| [y as usize, x as usize, channel.min(channels - 1)];
            let difference = |channel| f32::from(after[at(channel)]) - f32::from(before[at(channel)]);
            Rgb([0, 1, 2].map(|channel| 0.5 + difference(channel) / 510.0))
        });
        let difference = resize(&difference, self.width, self.height, FilterType::CatmullRom);
        let mut changed = photograph.to_rgb8();
        for (x, y, change) in difference.enumerate_pixels() {
            let weight = fade(x, self.width) * fade(y, self.height);
            let place = [self.left + i64::from(x), self.top + i64::from(y)].map(u32::try_from);
            let [Ok(x), Ok(y)] = place else { continue };
            let Some(pixel) = changed.get_pixel_mut_checked(x, y) else { continue };
            for (value, change) in pixel.0.iter_mut().zip(change.0) {
                *value =
                    (f32::from(*value) + weight * 510.0 * (change - 0.5)).round().clamp(0.0, 255.0) as u8;
            }
        }
        changed
    }
}

/// 1 inside, falling smoothly to 0 over the outer tenth of a side.
fn fade(place: u32, side: u32) -> f32 {
    let from_border = (place.min(side - 1 - place) as f32 + 0.5) / (0.1 * side as f32);
    let t = from_border.min(1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use glow_data::ImageShape;
    use ndarray::Array3;

    fn square(side: usize) -> Architecture {
        Architecture { height: side, width: side, ..Default::default() }
    }

    #[test]
    fn a_window_lies_around_the_face() {
        // Of CelebA's 178×218 pixels the model takes the 152×152 at (12, 38); a face there is about 99 high.
        let window = |text: &str, size| Window::around(text.parse().unwrap(), size, &square(64));
        let found = window("50,80,76,99", [178, 218]).unwrap();
        assert_eq!((found.left, found.top, found.width, found.height), (12, 38, 152, 152));
        assert!(window("10,10,90,120", [89, 300]).is_err());
        assert!(window("500,10,90,120", [400, 400]).is_err());
        for text in ["", "1,2,3", "1,2,0,4", "a,b,c,d", "1,2,3,nan", "1,2,3,inf"] {
            assert!(text.parse::<FaceBox>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_is_what_the_model_is_given_without_one() {
        let mut fit = Fit::centre(ImageShape { height: 8, width: 8, channels: 3 });
        fit.preprocessing.crop = "10%,20%,80%,60%".parse().unwrap();
        let photograph = DynamicImage::from(RgbImage::from_fn(50, 40, |x, y| {
            Rgb([x as u8 * 5, y as u8 * 6, (x * y) as u8])
        }));
        let window = Window::of(fit, [50, 40]);
        assert_eq!(window, Window { left: 13, top: 8, width: 24, height: 24 });
        let expected = fit_decoded(photograph.clone(), fit, 0).unwrap();
        assert_eq!(window.cut(&photograph, fit).unwrap(), expected);
        // No whole number of pixels has this aspect ratio: 23 of 50 columns are nearer to it than 22.
        fit.shape.width = 6;
        fit.preprocessing.crop = "0%,0%,100%,75%".parse().unwrap();
        let window = Window::of(fit, [50, 40]);
        assert_eq!(window, Window { left: 13, top: 0, width: 23, height: 30 });
        let expected = fit_decoded(photograph.clone(), fit, 0).unwrap();
        assert_eq!(window.cut(&photograph, fit).unwrap(), expected);
    }

    #[test]
    fn beyond_the_photograph_its_border_goes_on() {
        let fit = Fit::centre(ImageShape { height: 4, width: 4, channels: 3 });
        let photograph = DynamicImage::from(RgbImage::from_fn(6, 6, |x, y| Rgb([x as u8, y as u8, 9])));
        let corner = Window { left: -2, top: 4, width: 4, height: 4 };
        let cut = corner.cut(&photograph, fit).unwrap();
        let at = |y: usize, x: usize| [cut.pixels[3 * (4 * y + x)], cut.pixels[3 * (4 * y + x) + 1]];
        assert_eq!([at(0, 0), at(0, 3), at(3, 3)], [[0, 4], [1, 4], [1, 5]]);
        let (before, after) = (Array3::zeros((4, 4, 3)), Array3::from_elem((4, 4, 3), 200));
        let changed = corner.change(&photograph, before.view(), after.view());
        assert!(changed.get_pixel(0, 5).0[0] > 50 && changed.get_pixel(5, 0).0 == [5, 0, 9]);
    }

    #[test]
    fn a_change_stays_in_its_window_and_fades_out() {
        let photograph = DynamicImage::from(RgbImage::from_pixel(60, 50, Rgb([100, 100, 100])));
        let window = Window { left: 10, top: 5, width: 40, height: 40 };
        let (before, after) = (Array3::from_elem((8, 8, 3), 90), Array3::from_elem((8, 8, 3), 130));
        let same = window.change(&photograph, before.view(), before.view());
        assert_eq!(same, photograph.to_rgb8());
        let changed = window.change(&photograph, before.view(), after.view());
        let at = |x, y| changed.get_pixel(x, y).0[0];
        assert_eq!((at(30, 25), at(5, 25), at(55, 49)), (140, 100, 100));
        assert!(at(10, 25) < 105 && at(12, 25) > at(11, 25));
    }
}
