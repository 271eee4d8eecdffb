//! Small talk, things every child knows, and what the model does not know.

use crate::facts::with_article;
use crate::grammar::{Slots, ask, chance, expand, pick};
use crate::world::{ANIMALS, BOATS, CHILDREN, PEOPLE, PLACES};
use diablo::random::Random;

/// A question and its answer.
pub type Turn = (String, String);

/// Greetings, thanks, and who is speaking; templates of both.
#[rustfmt::skip]
const SMALL_TALK: &[(&str, &str)] = &[
    ("[hello|hi|good morning|good day|hey|good evening|hello there][!|.|]", "Hello! [How can I help you?|What would you like to know?]"),
    ("[how are you|how are you today|how do you do|are you well]?", "I am fine, thank you. [How are you?|The sea is calm today.]"),
    ("[tell me about yourself|introduce yourself].", "I am a small language model, and I know the village of Pebble Bay."),
    ("[who are you|what are you|are you a person|are you human]?", "I am a small language model, and I know the village of Pebble Bay."),
    ("[what is your name|do you have a name|what are you called]?", "I have no name. I am a small language model."),
    ("[what can you do|what do you know|how can you help me|what can I ask you]?", "You can ask me about the people, the animals and the boats of Pebble Bay. I can tell stories, too."),
    ("[thank you|thanks|thank you very much|many thanks][!|.]", "You are welcome!"),
    ("[goodbye|bye|see you soon|good night|see you tomorrow][!|.]", "Goodbye! [Come back soon.|See you soon.]"),
    ("[I am sad|I feel sad|I am not happy today].", "I am sorry to hear that. A warm soup at the inn may help."),
    ("[I am hungry|I want to eat something].", "You can eat hot soup at the inn, or buy warm bread at the bakery."),
    ("[I am tired|I want to sleep].", "You can sleep at the inn. Walter has a soft bed for you."),
    ("[I am bored.|what can I do today?|what shall I do?]", "You can look for shells on the beach, or fly a kite on the hill."),
    ("[I am ill|I do not feel well|my head hurts].", "Go to the little hospital. Nora will help you."),
    ("[yes|no|okay|good|very good|nice|great][.|!]", "[Good. What else would you like to know?|What else would you like to know?]"),
    ("[are you happy|do you like it here|do you like Pebble Bay]?", "Yes, I like Pebble Bay very much."),
    ("[tell me a joke.|do you know a joke?|make me laugh.]", "{joke}"),
    ("[write a poem|tell me a poem|write a little poem|a poem, please|write a poem about the sea|a poem about the harbour, please].", "{poem}"),
    ("[do you like|what do you think of] {thing}?", "Yes, I like {thing} very much."),
    ("[who made you|where do you come from|who taught you]?", "I was made by a small program, from stories of Pebble Bay."),
    ("[help|help me|I need help|can you help me][.|!|]", "Of course. What would you like to know?"),
    ("[I like you|you are nice|you are great][.|!]", "Thank you, that is kind of you."),
];

/// The jokes of Tom the fisherman.
const JOKES: &str = "[Why does the baker get up so early? Because the bread does not bake itself.|\
    What does the clock say to the mouse? It is time to go.|Why is the sea salty? Because the fish never cook the soup.|\
    Why does the seagull steal chips? Because it has no money.|Why does the tortoise never come late? Because it is always at home.|\
    What is the best boat for bread? The Little Duck, for ducks love bread.]";

/// Little poems.
const POEMS: &str = "[The moon is [round|bright], the sea is deep, the boats come [home|in] and go to sleep.|\
    The moon is [round|bright], the sea is wide, the boats come [home|in] with the evening tide.|\
    The [wind|rain] is cold, the day is grey, but [warm|good] bread waits [at home|by the fire] all day.|\
    The [wind|rain] is cold, the night is long, but in the inn we sing a song.|\
    A [little|small] [boat|fish] went out to sea, and it came [home|back] in time for tea.|\
    The lamp [is bright|shines out], the waves are high, and [stars|gulls] [look down|call out] [from|across] the sky.]";

/// What a question and its answer have in common, pair by pair.
type Pairs = &'static [(&'static str, &'static str)];

/// What every child knows: questions of one form with an answer for each word.
#[rustfmt::skip]
const KNOWN: &[(&str, &str, Pairs)] = &[
    ("[what is the opposite of {a}|what is the opposite word of {a}]?", "The opposite of {a} is {b}.", &[
        ("big", "small"), ("hot", "cold"), ("day", "night"), ("old", "young"), ("fast", "slow"), ("happy", "sad"), ("up", "down"),
        ("left", "right"), ("open", "closed"), ("wet", "dry"), ("black", "white"), ("full", "empty"), ("loud", "quiet"),
        ("long", "short"), ("good", "bad"), ("early", "late"), ("heavy", "light"), ("rich", "poor"), ("hard", "soft")]),
    ("[which day comes after {a}|what day comes after {a}|what is the day after {a}]?", "After {a} comes {b}.", &[
        ("Monday", "Tuesday"), ("Tuesday", "Wednesday"), ("Wednesday", "Thursday"), ("Thursday", "Friday"),
        ("Friday", "Saturday"), ("Saturday", "Sunday"), ("Sunday", "Monday")]),
    ("[what comes after {a}|which number comes after {a}|which season comes after {a}]?", "After {a} comes {b}.", &[
        ("spring", "summer"), ("summer", "autumn"), ("autumn", "winter"), ("winter", "spring")]),
    ("[what colour is {a}|which colour is {a}|what is the colour of {a}]?", "{a} is {b}.", &[
        ("the sea", "blue"), ("the grass", "green"), ("the sun", "yellow"), ("snow", "white"), ("the night", "black"),
        ("a tomato", "red"), ("an orange", "orange"), ("milk", "white"), ("the sky", "blue"), ("a lemon", "yellow")]),
    ("[what does {a} say|what sound does {a} make|how does {a} go]?", "{a} says {b}.", &[
        ("a cow", "moo"), ("a cat", "miaow"), ("a dog", "woof"), ("a duck", "quack"), ("a sheep", "baa"), ("an owl", "hoo"), ("a mouse", "squeak"),
        ("a bee", "buzz"), ("a horse", "neigh")]),
    ("[what is {a} made of|what do you need for {a}]?", "{a} is made of {b}.", &[
        ("bread", "flour, water and salt"), ("cheese", "milk"), ("a boat", "wood"), ("an anchor", "iron"), ("a coat", "wool"),
        ("butter", "milk"), ("a bowl", "clay"), ("soup", "water and vegetables"), ("a window", "glass"), ("a book", "paper")]),
    ("[what is {a} for|why do people need {a}|what can you do with {a}]?", "{a} is for {b}.", &[
        ("a lighthouse", "showing ships the way"), ("a boat", "going over the water"), ("a net", "catching fish"),
        ("a hammer", "hitting nails"), ("a book", "reading"), ("a clock", "telling the time"), ("an oven", "baking bread"),
        ("a bridge", "crossing the river"), ("a needle", "sewing clothes"), ("a lantern", "making light"), ("a bed", "sleeping")]),
    ("[what do {a} eat|what does one give {a} to eat]?", "{a} eat {b}.", &[
        ("cows", "grass"), ("cats", "mice and fish"), ("horses", "apples and hay"), ("rabbits", "leaves"), ("seagulls", "fish"),
        ("bees", "honey"), ("goats", "everything"), ("owls", "mice")]),
];

const NUMBERS: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// Words from a world that the model does not know.
#[rustfmt::skip]
const FOREIGN: &[&str] = &[
    "a computer", "the telephone", "the train", "the internet", "a car", "an aeroplane", "the moon landing", "a rocket", "football",
    "France", "London", "the king", "the volcano", "a camera", "the pyramids", "electricity", "chemistry", "a robot", "the lion",
    "the president", "the desert", "coffee", "pizza", "mathematics", "the whale", "America", "Paris", "an elephant", "jazz", "Germany",
    "the world", "the universe", "physics", "Python", "music", "love", "the brain", "a virus", "a banana", "Rome", "China", "gold",
    "the city", "a film", "television", "history", "art", "the war", "the queen", "the bank", "a tiger", "a guitar", "the future",
    "the planet Mars", "gravity", "sport", "tennis", "a game", "the stock market", "English", "Africa", "the ocean",
];

/// The answer about people who do not live in the village.
const NOBODY: &str = "I don't know anyone of that name.";
/// The answer about everything else that is unknown.
const NOTHING: &str = "I don't know that. I only know Pebble Bay.";

/// Questions that have no answer here.
#[rustfmt::skip]
const UNKNOWN: &[(&str, &str)] = &[
    ("[who is {new}|do you know {new}|tell me who {new} is|what do you know about {new}|who was {new}]?", NOBODY),
    ("[where does {new} live|where does {new} work|what does {new} do|what does {new} sell|what is {new}'s job|who is {new}'s best friend]?", NOBODY),
    ("[what does {new} like to eat|when does {new} get up|what does {new} wear|where does {new} sleep|who does {new} belong to|what colour is {new}]?", NOBODY),
    ("[what is|who invented|tell me about|explain|what do you know about|where is|why is there|what is the best thing about|what do you think about] {foreign}?", NOTHING),
    ("[how does {foreign} work|who made {foreign}|why do people like {foreign}|where can I buy {foreign}|how do I get to {foreign}|what is the capital of {foreign}|how big is {foreign}|when was {foreign} made|who discovered {foreign}]?", NOTHING),
    ("[write a text about|write a program for|translate|draw a picture of|give me a list of|how do I cook|how many people know|what is the history of] {foreign}.", NOTHING),
    ("[what is a {word}|what does {word} mean|what is {word}|where can I buy a {word}|tell me about {word}]?", NOTHING),
    ("[why is the {a} {b}|why are {a}s {b}|how {b} is the {a}|how many {a}s are there in the world|who made the first {a}|what is inside a {a}]?", NOTHING),
    ("[how old is {name}|how tall is {name}|where was {name} born|does {name} have a brother|what is {name}'s last name]?", "I don't know that about {name}."),
    ("[who won the game|what will the weather be next week|who will win the race|what time is it|what day is it today|where am I from|how old am I|what did I eat today|what is my name]?", NOTHING),
];

/// Words to say after the user.
#[rustfmt::skip]
const NOUNS: &[&str] = &[
    "boat", "sea", "moon", "bread", "house", "cat", "dog", "tree", "stone", "fish", "lamp", "hat", "key", "bell", "book", "river", "hill",
    "bridge", "cake", "coat", "star", "sun", "cloud", "flower", "door", "window", "horse", "mouse", "letter", "spoon", "king", "sky",
];
const ADJECTIVES: &[&str] = &[
    "red", "blue", "green", "old", "small", "big", "warm", "cold", "yellow", "quiet", "black", "happy", "round", "tall",
];

/// One exchange of small talk.
pub fn small_talk(random: &mut Random) -> Turn {
    let (question, answer) = pick(SMALL_TALK, random);
    let thing = pick(
        &["cats", "dogs", "the sea", "bread", "stories", "boats", "rain", "books", "honey", "winter", "cheese"],
        random,
    );
    both(question, answer, &Slots::new(&[("joke", JOKES), ("poem", POEMS), ("thing", thing)]), random)
}

/// Something that every child knows.
pub fn known(random: &mut Random) -> Turn {
    match random.below(10) {
        0..5 => {
            let (question, answer, words) = pick(KNOWN, random);
            let (a, b) = pick(words, random);
            both(question, answer, &Slots::new(&[("a", a), ("b", b)]), random)
        }
        5 => {
            let n = random.below(20) as usize;
            let slots = Slots::new(&[("a", NUMBERS[n]), ("b", NUMBERS[n + 1])]);
            both("[what comes after {a}|which number comes after {a}]?", "After {a} comes {b}.", &slots, random)
        }
        6 | 7 => {
            let (a, b) = (random.below(6) as usize, random.below(6) as usize);
            let slots = Slots::new(&[("a", NUMBERS[a]), ("b", NUMBERS[b]), ("c", NUMBERS[a + b])]);
            both("[what is|how much is] {a} [plus|and] {b}?", "{a} [plus|and] {b} is {c}.", &slots, random)
        }
        8 => {
            let n = 3 + random.below(8) as usize;
            let question = format!("[count to {0}.|can you count to {0}?]", NUMBERS[n]);
            both(&question, &format!("{}.", NUMBERS[1..=n].join(", ")), &Slots::default(), random)
        }
        _ => three(random),
    }
}

/// Three of a kind.
fn three(random: &mut Random) -> Turn {
    let (what, mut names): (&str, Vec<String>) = match random.below(5) {
        0 => ("people", PEOPLE.iter().map(|p| p.name.to_owned()).collect()),
        1 => ("children", CHILDREN.iter().map(|c| c.name.to_owned()).collect()),
        2 => ("animals", ANIMALS.iter().map(|a| format!("{} the {}", a.name, a.kind)).collect()),
        3 => ("boats", BOATS.iter().map(|b| format!("the {}", b.name)).collect()),
        _ => ("places", PLACES.iter().map(|p| format!("the {}", p.name)).collect()),
    };
    random.shuffle(&mut names);
    let slots = Slots::new(&[("what", what), ("x", &names[0]), ("y", &names[1]), ("z", &names[2])]);
    both(
        "[name three {what}|tell me three {what}|list three {what}|name three {what} in Pebble Bay].",
        "{x}, {y} and {z}.",
        &slots,
        random,
    )
}

/// Says after the user, so that the model learns to look back at what was said.
pub fn echo(random: &mut Random) -> Turn {
    if chance(20, random) {
        let name = if chance(50, random) { invented(random) } else { pick(PEOPLE, random).name.to_owned() };
        let question = "[my name is {name}|I am {name}|I am called {name}|here is {name}].";
        return both(question, "Hello! It is nice to meet you.", &Slots::new(&[("name", &name)]), random);
    }
    let mut words = String::new();
    for index in 0..2 + random.below(6) {
        words += if index > 0 { pick(&[" ", " ", " and ", ", ", " is "], random) } else { "" };
        let word = match random.below(8) {
            0 => invented(random).to_lowercase(),
            1..4 => pick(ADJECTIVES, random).to_owned(),
            _ => pick(NOUNS, random).to_owned(),
        };
        words += &word;
    }
    let question = "[say|repeat|say after me|please say|please repeat]: {words}.";
    both(question, "{words}.", &Slots::new(&[("words", &words)]), random)
}

/// A question about somebody or something that is not of this world.
pub fn unknown(random: &mut Random) -> Turn {
    let slots = Slots::new(&[
        ("new", &invented(random)),
        ("word", &invented(random).to_lowercase()),
        ("foreign", pick(FOREIGN, random)),
        ("name", pick(PEOPLE, random).name),
        ("a", pick(NOUNS, random)),
        ("b", pick(ADJECTIVES, random)),
    ]);
    let (question, answer) = pick(UNKNOWN, random);
    both(question, answer, &slots, random)
}

/// A name that nobody in the village has.
pub fn invented(random: &mut Random) -> String {
    const STARTS: &[&str] = &[
        "B", "D", "F", "G", "J", "K", "L", "M", "N", "P", "R", "S", "T", "V", "W", "Z", "Br", "Tr", "Kl", "Y", "Qu",
        "X", "H",
    ];
    const MIDDLES: &[&str] = &["a", "e", "i", "o", "u", "ia", "oo", "ay", "ee"];
    const LINKS: &[&str] = &["b", "d", "l", "m", "n", "r", "s", "t", "v", "z", "k", "bl", "nd", "rr", "st", "x", "ff"];
    const ENDS: &[&str] = &["", "n", "r", "x", "l", "na", "ra", "to", "bi", "k", "lo", "ph", "th", "y", "j"];
    loop {
        let mut name = pick(STARTS, random).to_owned();
        name += pick(MIDDLES, random);
        for _ in 0..random.below(2) + 1 {
            name += pick(LINKS, random);
            name += pick(MIDDLES, random);
        }
        name += pick(ENDS, random);
        if !PEOPLE.iter().any(|person| person.name == name) {
            return name;
        }
    }
}

/// Draws a question and an answer.
pub fn both(question: &str, answer: &str, slots: &Slots, random: &mut Random) -> Turn {
    (ask(question, slots, random), expand(answer, slots, random))
}

/// A question that is answered with yes or no, and why.
pub fn yes_or_no(random: &mut Random) -> Turn {
    let (p, other) = (pick(PEOPLE, random), pick(PEOPLE, random));
    let animal = pick(ANIMALS, random);
    let wrong = pick(ANIMALS, random);
    let place = pick(PLACES, random);
    let elsewhere = pick(PLACES, random);
    let slots = Slots::new(&[
        ("p", p.name),
        ("job", p.job),
        ("base", p.does[0]),
        ("does", p.does[1]),
        ("object", p.does[3]),
        ("q", other.name),
        ("qjob", other.job),
        ("qdoes", other.does[1]),
        ("qbase", other.does[0]),
        ("qobject", other.does[3]),
        ("food", p.food),
        ("qfood", other.food),
        ("home", p.home),
        ("likes", p.likes),
        ("a", animal.name),
        ("kind", animal.kind),
        ("colour", animal.colour),
        ("a_kind", &with_article(animal.kind)),
        ("a_wkind", &with_article(wrong.kind)),
        ("wcolour", wrong.colour),
        ("place", place.name),
        ("is", place.is),
        ("elsewhere", elsewhere.is),
    ]);
    let same = p.name == other.name;
    let (question, answer) = match random.below(10) {
        0 => ("[is {p} the {job}|{p} is the {job}, right]?", "Yes, {p} is the {job}."),
        1 if !same => ("[is {p} the {qjob}|{p} is the {qjob}, right]?", "No, {p} is the {job}. The {qjob} is {q}."),
        2 => ("does {p} {base} {object}?", "Yes, {p} {does} {object}."),
        3 if !same => ("does {p} {qbase} {qobject}?", "No, {q} {qdoes} {qobject}. {p} {does} {object}."),
        4 => ("does {p} like [to eat {food}|{food}]?", "Yes, {p} likes to eat {food}."),
        5 if !same => ("does {p} like [to eat {qfood}|{qfood}]?", "No, {p} likes to eat {food}."),
        6 => ("is {a} [{colour}|{a_kind}]?", "Yes, {a} is a {colour} {kind}."),
        7 if animal.colour != wrong.colour && animal.kind != wrong.kind => {
            ("is {a} [{wcolour}|{a_wkind}]?", "No, {a} is a {colour} {kind}.")
        }
        8 => ("is the {place} {is}?", "Yes, the {place} is {is}."),
        9 if place.is != elsewhere.is => ("is the {place} {elsewhere}?", "No, the {place} is {is}."),
        _ => ("does {p} live {home}?", "Yes, {p} lives {home}."),
    };
    both(question, answer, &slots, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_successors_are_right() {
        let mut random = Random::new(1);
        let number = |word: &str| NUMBERS.iter().position(|known| *known == word.to_lowercase());
        let mut sums = 0;
        for _ in 0..2000 {
            let (_, answer) = known(&mut random);
            let words: Vec<&str> = answer.trim_end_matches('.').split(' ').collect();
            match words.as_slice() {
                [a, "plus" | "and", b, "is", c] => {
                    assert_eq!(number(a).zip(number(b)).map(|(a, b)| a + b), number(c), "{answer}");
                    sums += 1;
                }
                ["After", a, "comes", b] if number(a).is_some() => {
                    assert_eq!(number(a).map(|a| a + 1), number(b), "{answer}");
                }
                _ => {}
            }
        }
        assert!(sums > 200, "{sums}");
    }

    #[test]
    fn invented_names_are_many_and_nobody_s() {
        let mut random = Random::new(2);
        let names: std::collections::HashSet<String> = (0..1000).map(|_| invented(&mut random)).collect();
        assert!(names.len() > 950, "{}", names.len());
        assert!(PEOPLE.iter().all(|person| !names.contains(person.name)));
    }
}
