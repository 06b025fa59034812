//! Rows unlike those of a table, and the distance to its rows as a reference detector.

use kenyon_learn::data::{Column, Table};
use kenyon_learn::random::Random;

/// Sentences in two other languages.
const FRENCH: [&str; 12] = [
    "Bonjour, où se trouve la gare la plus proche ?",
    "Nous avons mangé des pâtes hier soir chez mes parents.",
    "Le train de huit heures est encore en retard ce matin.",
    "Je voudrais ouvrir un compte, quels papiers faut-il apporter ?",
    "Elle a oublié son parapluie dans la voiture de son frère.",
    "Il fait trop chaud pour travailler dans le jardin aujourd'hui.",
    "Ma carte a été refusée au restaurant, que dois-je faire ?",
    "Les enfants jouent dehors depuis le début de l'après-midi.",
    "Peux-tu m'appeler quand tu seras rentré à la maison ?",
    "Ce film est beaucoup trop long et l'histoire ne tient pas debout.",
    "Combien de temps faut-il pour recevoir un virement ?",
    "Merci beaucoup pour votre aide et à très bientôt.",
];
const CHINESE: [&str; 12] = [
    "请问最近的火车站在哪里？",
    "昨天晚上我们在父母家吃了面条。",
    "今天早上八点的火车又晚点了。",
    "我想开一个账户，需要带什么证件？",
    "她把雨伞忘在哥哥的车里了。",
    "今天太热了，不能在花园里干活。",
    "我的卡在餐厅被拒了，我该怎么办？",
    "孩子们从下午开始就在外面玩。",
    "你到家以后可以给我打电话吗？",
    "这部电影太长了，故事也不合理。",
    "转账需要多长时间才能到账？",
    "非常感谢您的帮助，再见。",
];

/// Rows unlike those of `table`, by name.
pub(crate) fn foreign(table: &Table, random: &mut Random) -> Vec<(&'static str, Table)> {
    let mut out = Vec::new();
    let numbers: Vec<usize> =
        (0..table.columns.len()).filter(|&at| matches!(table.columns[at].1, Column::Number(_))).collect();
    if numbers.len() > 1 {
        let mut exchanged = table.clone();
        for (at, &to) in numbers.iter().enumerate() {
            exchanged.columns[to].1 = table.columns[numbers[(at + 1) % numbers.len()]].1.clone();
        }
        out.push(("exchanged numbers", exchanged));
    }
    if table.columns.len() > 1 {
        let mut mixed = table.clone();
        for (_, column) in &mut mixed.columns {
            let mut order: Vec<usize> = (0..table.rows).collect();
            random.shuffle(&mut order);
            *column = column.select(&order);
        }
        out.push(("mixed rows", mixed));
    }
    let lists = |column: &Column| matches!(column, Column::Vector { .. } | Column::Series { .. });
    if table.columns.iter().any(|(_, column)| lists(column)) {
        let (mut shuffled, mut noisy) = (table.clone(), table.clone());
        for (_, column) in shuffled.columns.iter_mut().chain(&mut noisy.columns) {
            if let Column::Vector { values, width, .. } = column {
                let mut order: Vec<usize> = (0..*width).collect();
                random.shuffle(&mut order);
                *values = values.chunks_exact(*width).flat_map(|row| order.iter().map(|&i| row[i])).collect();
            }
            if let Column::Series { channels, offsets, values } = column {
                let all = values.clone();
                for row in offsets.windows(2) {
                    let mut order: Vec<usize> = (row[0]..row[1]).collect();
                    random.shuffle(&mut order);
                    for (to, from) in (row[0]..row[1]).zip(order) {
                        values[to * *channels..(to + 1) * *channels]
                            .copy_from_slice(&all[from * *channels..(from + 1) * *channels]);
                    }
                }
            }
        }
        for (_, column) in &mut noisy.columns {
            if let Column::Vector { values, .. } | Column::Series { values, .. } = column {
                let finite = || values.iter().copied().filter(|v| v.is_finite());
                let (low, high) = (finite().fold(f32::MAX, f32::min), finite().fold(f32::MIN, f32::max));
                values.iter_mut().for_each(|v| *v = low + (high - low) * random.uniform());
            }
        }
        out.push(("shuffled lists", shuffled));
        out.push(("noise", noisy));
    }
    if table.columns.iter().any(|(_, column)| matches!(column, Column::Text(_))) {
        let mut foreign = table.clone();
        for (_, column) in &mut foreign.columns {
            if let Column::Text(texts) = column {
                for text in texts.iter_mut().flatten() {
                    let mut letter = |c: char| {
                        if c.is_alphabetic() { char::from(b'a' + random.below(26) as u8) } else { c }
                    };
                    *text = text.chars().map(&mut letter).collect::<String>().into();
                }
            }
        }
        out.push(("random letters", foreign));
        for (what, texts) in [("French", FRENCH), ("Chinese", CHINESE)] {
            let mut other = table.select(&vec![0; texts.len()]);
            for (_, column) in &mut other.columns {
                if let Column::Text(cells) = column {
                    *cells = texts.iter().map(|text| Some((*text).into())).collect();
                }
            }
            out.push((what, other));
        }
        let mut empty = table.select(&[0]);
        for (_, column) in &mut empty.columns {
            if let Column::Text(texts) = column {
                texts[0] = Some("".into());
            }
        }
        out.push(("the empty text", empty));
    }
    out
}

/// Numbers and list elements of rows, standardised by `like`; category names as 0.7 in a slot of their hash.
pub(crate) fn raw(table: &Table, like: &Table) -> Vec<Vec<f32>> {
    let mut rows = vec![Vec::new(); table.rows];
    for ((name, column), (_, known)) in table.columns.iter().zip(&like.columns) {
        let standard = |values: &mut dyn Iterator<Item = f64>| {
            let known: Vec<f64> = values.filter(|v| v.is_finite()).collect();
            let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
            let spread = known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / known.len().max(1) as f64;
            (mean, spread.sqrt().max(1e-9))
        };
        let scaled =
            |v: f64, (mean, spread): (f64, f64)| if v.is_finite() { ((v - mean) / spread) as f32 } else { 0.0 };
        match (column, known) {
            (Column::Number(values), Column::Number(all)) => {
                let scale = standard(&mut all.iter().copied());
                rows.iter_mut().zip(values).for_each(|(row, v)| row.push(scaled(*v, scale)));
            }
            (Column::Vector { width, values, .. }, Column::Vector { values: all, .. }) => {
                let scale = standard(&mut all.iter().map(|v| f64::from(*v)));
                for (row, own) in rows.iter_mut().zip(values.chunks_exact(*width)) {
                    row.extend(own.iter().map(|v| scaled(f64::from(*v), scale)));
                }
            }
            (Column::Category(values), _) => {
                for (row, value) in rows.iter_mut().zip(values) {
                    let mut slots = [0.0; 8];
                    let hash = value.iter().flat_map(|v| v.bytes()).fold(name.len(), |h, b| h * 31 + usize::from(b));
                    slots[hash % 8] = 0.7;
                    row.extend(slots);
                }
            }
            _ => {}
        }
    }
    rows
}

pub(crate) fn nearest(rows: &[Vec<f32>], known: &[Vec<f32>]) -> Vec<f32> {
    let distance = |a: &Vec<f32>, b: &Vec<f32>| a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
    let third = |row: &Vec<f32>| {
        let mut found: Vec<f32> = known.iter().map(|other| distance(row, other)).collect();
        if found.len() < 3 { 0.0 } else { *found.select_nth_unstable_by(2, f32::total_cmp).1 }
    };
    rows.iter().map(third).collect()
}
