//! Each set in small, with the folders and columns of its publication.

use std::path::{Path, PathBuf};

use super::*;
use crate::train::data::labels::{Given, Known, Part, Stated};

/// Files of a set; pictures are empty, for nothing here looks into them.
fn set(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    folder
}

fn known(file: &Path) -> Known<'_> {
    Known {
        file: Some(file),
        image: "2.25.1",
        size: [1024, 1024],
        ..Known::default()
    }
}

fn said(folder: &Path, file: &str) -> (String, Vec<String>, Option<Stated>) {
    let mut set = recognised(folder).unwrap().expect("the set is recognised");
    let stated = set.of(&known(&folder.join(file))).unwrap();
    (set.title(), set.columns().to_vec(), stated)
}

fn value<'a>(columns: &[String], stated: &'a Stated, name: &str) -> &'a str {
    let place = columns.iter().position(|column| column == name).expect(name);
    &stated.labels[place]
}

#[test]
fn mura_says_all_in_its_paths() {
    let folder = set(&[(
        "MURA-v1.1/valid/XR_ELBOW/patient11185/study1_positive/image1.png",
        "",
    )]);
    let file = "MURA-v1.1/valid/XR_ELBOW/patient11185/study1_positive/image1.png";
    let (title, columns, stated) = said(folder.path(), file);
    let stated = stated.unwrap();
    assert_eq!(
        (title.as_str(), columns.as_slice()),
        ("MURA", &["abnormal".to_owned()][..])
    );
    assert_eq!(stated.patient.as_deref(), Some("patient11185"));
    assert_eq!(
        (stated.split, stated.body_part.as_deref()),
        (Some(Part::Validation), Some("ELBOW"))
    );
    assert_eq!(stated.labels, ["1"]);
    assert_eq!(said(folder.path(), "MURA-v1.1/readme.png").2, None);
}

#[test]
fn nih_says_it_in_one_table_with_brackets_in_its_header() {
    let header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n";
    let lines = "00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.143,0.143,\n00000002_000.png,No Finding,0,2,411Y,F,AP,2048,2048,0.168,0.168,\n";
    let folder = set(&[
        ("Data_Entry_2017.csv", &format!("{header}{lines}")),
        ("test_list.txt", "00000002_000.png\n"),
    ]);
    let (_, columns, stated) = said(folder.path(), "images_001/images/00000001_001.png");
    let stated = stated.unwrap();
    assert_eq!(columns.len(), 14);
    assert_eq!(value(&columns, &stated, "cardiomegaly"), "1");
    assert_eq!(value(&columns, &stated, "hernia"), "0");
    assert_eq!(
        (stated.patient.as_deref(), stated.age, stated.sex),
        (Some("1"), Some(58), Some("M"))
    );
    assert_eq!(
        (stated.view.as_deref(), stated.split),
        (Some("PA"), Some(Part::Train))
    );
    let [down, across] = stated.spacing.unwrap();
    assert!((down - 0.143 * 2729.0 / 1024.0).abs() < 1e-9 && (across - 0.143 * 2894.0 / 1024.0).abs() < 1e-9);
    let (_, columns, stated) = said(folder.path(), "images_001/images/00000002_000.png");
    let stated = stated.unwrap();
    assert_eq!(
        (stated.split, stated.age),
        (Some(Part::Test), None),
        "411 years are no age"
    );
    assert!(stated.labels.iter().all(|label| label == "0") && columns.len() == stated.labels.len());
}

#[test]
fn bone_age_has_a_table_for_each_part() {
    let folder = set(&[
        (
            "boneage-training-dataset.csv",
            "id,boneage,male\n1377,180,False\n1378,12,True\n",
        ),
        (
            "Validation Dataset.csv",
            "Image ID,male,Bone Age (months)\n1386,TRUE,30.2\n",
        ),
        ("boneage-test-dataset.csv", "Case ID,Sex\n4360,M\n"),
    ]);
    for (file, split, sex, months) in [
        ("boneage-training-dataset/1377.png", Part::Train, "F", "180"),
        ("validation/1386.png", Part::Validation, "M", "30.2"),
        ("boneage-test-dataset/4360.png", Part::Test, "M", ""),
    ] {
        let (_, columns, stated) = said(folder.path(), file);
        let stated = stated.unwrap();
        assert_eq!(columns, ["bone_age_months"]);
        assert_eq!((stated.split, stated.sex), (Some(split), Some(sex)), "{file}");
        assert_eq!(
            (stated.body_part.as_deref(), stated.labels[0].as_str()),
            (Some("HAND"), months)
        );
    }
}

#[test]
fn vindr_spine_has_a_line_for_each_box() {
    let header = "image_id,study_id,series_id,lesion_type,xmin,ymin,xmax,ymax\n";
    let lines =
        "aa01,s1,x,Osteophytes,1,1,5,5\naa01,s1,x,Disc space narrowing,1,1,5,5\nbb02,s2,x,No finding,,,,\n";
    let folder = set(&[("annotations/train.csv", &format!("{header}{lines}"))]);
    let (_, columns, stated) = said(folder.path(), "train_images/aa01.dicom");
    let stated = stated.unwrap();
    let found: Vec<&String> = columns
        .iter()
        .filter(|column| value(&columns, &stated, column) == "1")
        .collect();
    assert_eq!(found, ["disc_space_narrowing", "osteophytes"]);
    assert_eq!(
        (stated.patient.as_deref(), stated.split),
        (Some("s1"), Some(Part::Train))
    );
    let healthy = said(folder.path(), "train_images/bb02.dicom").2.unwrap();
    assert!(healthy.labels.iter().all(|label| label == "0"));
}

#[test]
fn padchest_lists_findings_as_python_does() {
    let text = ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,Labels\n\
        0,a_x.png,0,20140915,1,839860488694292331637988235681460987,1930.0,F,POSTEROANTERIOR,PA,\"['pulmonary fibrosis', 'normal']\"\n\
        1,b_x.png,0,20140915,1,9,,M,LATERAL,L,\"['cardiomegaly']\"\n2,c_x.png,0,20140915,1,9,,M,LATERAL,L,\n";
    let folder = set(&[("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", text)]);
    let (_, columns, stated) = said(folder.path(), "0/a_x.png");
    let stated = stated.unwrap();
    assert_eq!(columns, ["cardiomegaly", "normal", "pulmonary_fibrosis"]);
    assert_eq!(stated.labels, ["0", "1", "1"]);
    assert_eq!(
        (stated.age, stated.sex, stated.view.as_deref()),
        (Some(84), Some("F"), Some("PA"))
    );
    assert_eq!(
        said(folder.path(), "0/b_x.png").2.unwrap().labels,
        ["1", "0", "0"]
    );
    assert_eq!(said(folder.path(), "0/c_x.png").2.unwrap().labels, ["", "", ""]);
}

#[test]
fn what_is_no_set_is_none() {
    let folder = set(&[("train.csv", "id,label\n1,2\n"), ("a/b.csv", "x\n")]);
    assert!(recognised(folder.path()).unwrap().is_none());
}

/// An array as `numpy.save` writes it.
fn array(kind: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), bytes].concat()
}

/// A file as `numpy.savez` or, with deflate, `numpy.savez_compressed` writes it.
fn packed(arrays: &[(&str, Vec<u8>)], deflate: bool) -> (tempfile::TempDir, PathBuf) {
    use std::io::Write;
    let mut out = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut out);
    for (name, bytes) in arrays {
        let method = if deflate {
            rawzip::CompressionMethod::DEFLATE
        } else {
            rawzip::CompressionMethod::STORE
        };
        let file = archive.new_file(format!("{name}.npy")).compression_method(method);
        let (mut entry, config) = file.start().unwrap();
        let descriptor = if deflate {
            let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
            let mut writer = config.wrap(encoder);
            writer.write_all(bytes).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            descriptor
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chestmnist.npz");
    std::fs::write(&file, out).unwrap();
    (folder, file)
}

#[test]
fn medmnist_becomes_pictures_and_a_table() {
    let pixels: Vec<u8> = (0..3 * 4 * 5).collect();
    for deflate in [false, true] {
        let arrays = [
            ("train_images", array("|u1", "2, 4, 5", &pixels[..40])),
            ("train_labels", array("|u1", "2, 2", &[0, 1, 1, 0])),
            ("test_images", array("|u1", "1, 4, 5", &pixels[40..])),
            ("test_labels", array("|u1", "1, 2", &[1, 1])),
        ];
        let (folder, file) = packed(&arrays, deflate);
        let unpacked = medmnist::unpack(&file, folder.path()).unwrap();
        let table = std::fs::read_to_string(unpacked.join("labels.csv")).unwrap();
        assert_eq!(
            table,
            "file,split,label_0,label_1\ntrain/000/000000.png,train,0,1\ntrain/000/000001.png,train,1,0\ntest/000/000000.png,test,1,1\n"
        );
        let picture = image::open(unpacked.join("test/000/000000.png"))
            .unwrap()
            .into_luma8();
        assert_eq!(
            (picture.dimensions(), picture.into_raw()),
            ((5, 4), pixels[40..].to_vec())
        );
        let key = crate::deidentify::Key::new([1; 32]);
        let mut given = Given::open(&unpacked.join("labels.csv"), &[], &key).unwrap();
        let second = given
            .of(&known(&unpacked.join("train/000/000001.png")))
            .unwrap()
            .unwrap();
        assert_eq!(
            (second.split, second.labels),
            (Some(Part::Train), vec!["1".to_owned(), "0".to_owned()])
        );
    }
}

#[test]
fn a_packed_set_that_is_none_says_why() {
    let refused = |arrays: &[(&str, Vec<u8>)]| {
        let (folder, file) = packed(arrays, true);
        let error = medmnist::unpack(&file, folder.path()).unwrap_err();
        error.to_string()
    };
    let images = |kind, shape, count: usize| vec![("train_images", array(kind, shape, &vec![0; count]))];
    assert!(refused(&images("|u1", "1, 4, 5, 3", 60)).contains("in colour"));
    assert!(refused(&images("<f8", "1, 4, 5", 160)).contains("8-bit"));
    assert!(refused(&images("|u1", "2, 4, 5", 30)).contains("breaks off at image 1 of 2"));
    assert!(refused(&[("x", array("|u1", "1", &[0]))]).contains("no array train_images"));
    let mut labels = images("|u1", "2, 4, 5", 40);
    labels.push(("train_labels", array("|u1", "3, 1", &[0; 3])));
    assert!(refused(&labels).contains("2 images and 3 labels"));
    let folder = set(&[("a.npz", "no zip")]);
    assert!(medmnist::unpack(&folder.path().join("a.npz"), folder.path()).is_err());
}

#[test]
fn negative_labels_stay_negative() {
    let wide = |bytes: &[u8]| [vec![0xFF; 2], bytes.to_vec()].concat();
    for (kind, bytes, said) in [
        ("|i1", vec![0xFF, 1], ["-1", "1"]),
        ("<i2", vec![0xFE, 0xFF, 0, 1], ["-2", "256"]),
        ("<i4", vec![0xFD, 0xFF, 0xFF, 0xFF, 3, 0, 0, 0], ["-3", "3"]),
        ("<u2", wide(&[1, 0]), ["65535", "1"]),
        ("|b1", vec![1, 0], ["1", "0"]),
    ] {
        let arrays = [
            ("train_images", array("|u1", "2, 1, 1", &[7, 8])),
            ("train_labels", array(kind, "2, 1", &bytes)),
        ];
        let (folder, file) = packed(&arrays, false);
        let unpacked = medmnist::unpack(&file, folder.path()).unwrap();
        let table = std::fs::read_to_string(unpacked.join("labels.csv")).unwrap();
        let labels: Vec<&str> = table
            .lines()
            .skip(1)
            .map(|line| line.rsplit(',').next().unwrap())
            .collect();
        assert_eq!(labels, said, "{kind}");
    }
}
