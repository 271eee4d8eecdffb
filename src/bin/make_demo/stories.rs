//! Little stories: plots of a few sentences, each sentence in several wordings.

use crate::facts::pronouns;
use crate::grammar::{Slots, chance, expand, pick};
use crate::style::sailor;
use crate::world::{ANIMALS, CHILDREN, PEOPLE, PLACES};
use diablo::random::Random;

/// Somebody in a story.
#[derive(Debug, Clone)]
struct Figure {
    name: String,
    /// "Ada the baker", "Pip".
    full: String,
    words: [&'static str; 3],
}

/// Plots with a person {A}, another person {B} and an animal {C}, who has the owner {D}.
#[rustfmt::skip]
const PLOTS: &[&str] = &[
    // Something is lost.
    "{opening} {A} could not find {Atheir} {thing}. {Athey} looked [under the bed|behind the door|in every cupboard|under the table] and [in the kitchen|in the garden|on the stairs|{atP}], but it was not there. \
     [Then {B} came by.|Soon {B} came along.|{Bfull} heard about it.] \"[what are you looking for|why do you look so sad|what is wrong]?\" asked {B}. \"[I have lost my {thing}|my {thing} is gone|I cannot find my {thing}],\" said {A}. \
     [They looked together|{B} helped {Athem} to look|They went to the {Q} to look], and [there it was, under a bench|after a while {B} found it in the grass|at last they saw it {atQ}]. \
     [{A} was very happy and gave {B} {treat}.|\"Thank you, my friend,\" said {A}, and they ate {treat} together.|{A} laughed and never lost it again.]",
    // The animal has taken it.
    "{opening} {A}'s {thing} was gone, and {Athey} [was angry|did not understand it|asked everyone in the village]. [Nobody had seen it.|\"Not me,\" said {B}.|{B} shook {Btheir} head.] \
     Then {A} saw {Cfull} {atP}. {C} [had|was holding|was sitting on] the {thing}! \"[so it was you|give that back|you little thief]!\" [called|cried|said] {A}. \
     {C} [ran away|looked at {Athem} and did not move|dropped it at once]. [But for {treat} {Cthey} gave it back.|{A} had to laugh.|In the end {A} gave {C} {treat}, and they were friends again.]",
    // A storm.
    "{opening} a [big|wild|dark] storm came over the sea. The wind [blew over the roofs|shook the windows|howled around the houses], and the waves were [as high as houses|high and white]. \
     {A} was [still out on the water|alone {atP}|on the way home] and [was afraid|could see nothing]. [Then {Athey} saw a light.|But a light shone through the rain.] It was the lamp of the lighthouse! \
     [Mira had seen {Athem}.|Mira waved from the top.] {B} [came with a rope|ran down to the water|opened the door], and soon {A} [sat by the fire with {treat}|was safe and dry|drank hot tea]. \
     \"[what a night|that was close|never again],\" said {A}.",
    // A cake, soup, or meal for the other.
    "{opening} {A} wanted to make {treat} for {B}. {Athey} [took flour, eggs and milk|went to the shop|asked Ada for help] and worked [all morning|for two hours|until noon]. \
     But [{C} came in and ate it all|it fell on the floor|it was black and hard]! {A} [sat down and cried|did not know what to do|was sad]. \
     {B} [knocked at the door|came in and saw it] and [laughed|smiled]. \"[it does not matter|we can make a new one|never mind],\" said {B}. \"[let us do it together|I will help you|two are faster than one].\" \
     [So they did, and it was the best in the village.|In the evening they ate {treat} together.|That day they became good friends.]",
    // A walk to a place.
    "{opening} {A} went [for a walk|out early|outside]. {Athey} walked [along the river|over the bridge|across the square|past the mill], and {atP} {Athey} met {Bfull}. \
     \"[what a nice day|good morning|how good to see you],\" said {B}. \"[I am going to the {Q}|I want to see the sea|I am looking for flowers],\" said {A}. \
     So they went together. On the way they saw {Cfull}, who [was asleep|looked at them|followed them for a while]. \
     [When they came home, they were tired and happy.|They came home when the sun went down.|In the evening they told everyone about it.]",
    // A race.
    "{opening} {A} and {B} had a race [to the lighthouse|around the harbour|up the hill|over the beach]. \"[I am faster than you|I will win|you cannot win],\" said {A}. {B} [only smiled|said nothing|laughed]. \
     {A} ran very fast, but [then {Athey} stopped to eat {treat}|then {Athey} fell into the mud|then {C} ran between {Atheir} legs]. {B} walked [slowly but did not stop|on and on] and [won|came in first]. \
     \"[well done|you were better today],\" said {A}, and [they shook hands|{Athey} had to laugh|they both drank cold water at the well].",
    // The animal needs help.
    "{opening} {A} heard a small sound. It came from {place}. It was {Cfull}! {C} [sat in a deep hole|could not come down from the roof|had a stone in {Ctheir} foot|was wet and cold]. \
     \"[do not be afraid|poor {C}|wait, I will help you],\" said {A}. {Athey} called {B}, and together they [brought a ladder|took a warm cloth|used a long rope]. \
     [Soon {C} was safe.|After an hour it was done.] {C} [ate {treat} and fell asleep|ran around them three times|looked very pleased]. \
     [Since that day {C} follows {A} everywhere.|\"Good,\" said {B}, \"now let us go home.\"|Everyone in the village heard about it.]",
    // A present.
    "{opening} it was {A}'s birthday. [Nobody said a word about it|Everyone seemed to have forgotten it], and {A} was [a little sad|very quiet]. \
     [In the evening|After work] {B} [said|called]: \"[come with me to the {P}|I must show you something|close your eyes].\" {A} [went along|did so]. There stood [all the people of the village|all {Atheir} friends] with [lanterns|flowers|songs]! \
     {B} gave {Athem} a {colour} {thing}. \"[that is what I always wanted|how beautiful|thank you all],\" said {A}. [They danced until midnight.|Peter played the fiddle, and they danced.|They all ate {treat}.]",
    // Fog or snow.
    "{opening} there was [thick fog|deep snow] in {village}. [Nobody could see the sea|The streets were white and quiet|One could not see the other side of the square]. \
     {A} wanted to go to the {P}, but {Athey} [lost the way|went in a circle|came to the {Q}]. \"[hello? Is anyone there|where am I|can anyone hear me]?\" called {A}. \
     \"[here I am|come this way|follow my voice],\" [answered|called] {B}. {A} went [on slowly|towards the voice] and [took {B} by the hand|saw a small light]. \
     [Together they found the way home.|\"Without you I would still be walking,\" said {A}.|They went to the inn and ate hot soup.]",
    // A treasure.
    "{opening} {A} found [an old map|a letter in a bottle|a small key] {atP}. \"[look at this|what can it be|this is a secret],\" {Athey} said to {B}. \
     They [followed it|walked] [over the bridge|along the beach|through the forest] and [dug a hole|looked behind a stone|opened a small door]. There was a [wooden|rusty|heavy] box! \
     [It was full of {colour} shells.|In it lay a {colour} {thing}.|In the box there was only a note: \"You have good friends. That is the treasure.\"] \
     [They showed it to everyone.|They took it to the library.|{A} and {B} laughed all the way home.]",
    // Work together.
    "{opening} {A} had [too much work|so much to do]. \"[I will never be ready|I need help|my arms are tired],\" said {A}. {B} [heard it|came by] and said: \"[I have time|I can help you|let me try].\" \
     First {B} [did it all wrong|was slow], but {A} showed {Bthem} how to do it. [They worked until the evening.|After a while they sang at work.|{C} watched them.] \
     Then [all was done|the work was ready]. [\"You are a good helper,\" said {A}.|{A} gave {B} {treat}.|The next day {A} helped {B}.]",
    // A night.
    "{opening} {A} could not sleep. The moon [was round and bright|stood over the harbour], and [an owl called|the sea was very quiet|the clock struck twelve]. {Athey} put on {Atheir} [coat|shoes] and went to the {P}. \
     There sat {B}. \"[you cannot sleep either|what are you doing here|is it not a beautiful night]?\" asked {B}. They [looked at the stars|talked for a long time|listened to the waves]. \
     [Then {C} came and sat down next to them.|\"That one is mine,\" said {A} and showed {Bthem} a bright star.|A star fell, and each of them made a wish.] \
     [When the sun came up, they went home.|At last they were tired and went to bed.]",
];

/// Plots with an animal {C} and another {E}.
#[rustfmt::skip]
const ANIMAL_PLOTS: &[&str] = &[
    "{opening} {Cfull} was [very hungry|looking for something to eat]. {Cthey} wanted {food}, but {Cthey} found none {atP}. [Then {C} met {Efull}.|{Efull} came along.] \
     \"[have you seen any {food}|do you have {food} for me]?\" asked {C}. \"[look {atQ}|come with me|I know where it is],\" said {E}. \
     They went there together, and {C} ate until {Cthey} was full. [\"Thank you, {E},\" said {C}.|Then they lay in the sun and slept.|Since then they share everything.]",
    "{opening} {Cfull} and {Efull} [played {atP}|ran around {atP}]. \"[you cannot catch me|I am the fastest of all],\" called {C}. {E} [ran after {Cthem}|waited behind a stone], and [splash|bump]! {C} [fell into the water|ran into a basket]. \
     [Both were wet.|{E} laughed loudly.] {A} [came out and shook {Atheir} head|gave them something to eat|dried them with a cloth]. [That night {C} slept {sleeps} and dreamed of it.|{C} went home and slept {sleeps}.]",
    "{opening} {Cfull} was not {sleeps}, where {Cthey} always sleeps. {A} [looked everywhere|called and called|was worried]. {E} [knew it, but {E} could not speak|pulled at {A}'s coat|ran in front of {Athem}]. \
     {A} followed {E} to the {P}. There was {C}, [fast asleep|with a {colour} {thing}|in the middle of the flowers]. \"[there you are|you gave me a fright|come home now],\" said {A}, and [all was well again|{C} got {food}].",
    "{opening} a new smell came from the {P}. {Cfull} [followed it with {Ctheir} nose|had to know what it was]. {Cthey} [crept under a table|climbed through the window|waited until nobody looked] and saw {treat}! \
     [{C} ate it all.|{C} took one bite, and then another.] \"[who was that|where is my food]?\" cried {A}. {E} [looked at {C}|said nothing]. {C} [hid {sleeps}|ran home as fast as {Cthey} could]. \
     [The next day {C} brought {A} a {colour} flower.|{A} found {Cthem} and could not be angry.|Since that day {A} closes the window.]",
];

const OPENINGS: &str = "[[one|on a] [sunny|rainy|windy|cold|warm|quiet|foggy] [morning|afternoon|evening|day]|one day|one morning|one evening|[in summer|in winter|in autumn|in spring]|last [week|year|Sunday]|on [Monday|Saturday|Friday]|early in the morning|a long time ago|when the sun came up,]";

/// A story; with the names of whom it is about.
pub fn story(random: &mut Random) -> (String, String) {
    if chance(30, random) { animal_story(random) } else { person_story(random) }
}

fn person_story(random: &mut Random) -> (String, String) {
    let (a, b) = two(random, figure);
    let (c, _) = two(random, animal);
    let slots =
        common(random).with(&[("A", &a.name), ("B", &b.name), ("Bfull", &b.full), ("C", &c.name), ("Cfull", &c.full)]);
    let slots = with_words(with_words(with_words(slots, "A", &a), "B", &b), "C", &c);
    (a.name, expand(pick(PLOTS, random), &slots, random))
}

fn animal_story(random: &mut Random) -> (String, String) {
    let (c, e) = two(random, animal);
    let (a, _) = two(random, figure);
    let found = ANIMALS.iter().find(|known| known.name == c.name).expect("an animal of the village");
    let slots = common(random).with(&[
        ("A", &a.name),
        ("C", &c.name),
        ("Cfull", &c.full),
        ("E", &e.name),
        ("Efull", &e.full),
        ("food", found.food),
        ("sleeps", found.sleeps),
    ]);
    let slots = with_words(with_words(slots, "A", &a), "C", &c);
    (c.name, expand(pick(ANIMAL_PLOTS, random), &slots, random))
}

fn common(random: &mut Random) -> Slots {
    let (p, q) = (pick(PLACES, random), pick(PLACES, random));
    let thing = pick(
        &[
            "hat", "key", "lamp", "book", "basket", "spoon", "ring", "bell", "letter", "pot", "scarf", "map", "shoe",
            "box",
        ],
        random,
    );
    let treat = pick(
        &[
            "apple pie",
            "hot soup",
            "honey cakes",
            "warm bread",
            "pancakes",
            "cheese",
            "plum cake",
            "biscuits",
            "fish soup",
            "red apples",
        ],
        random,
    );
    let colour = pick(&["red", "blue", "green", "yellow", "white", "golden", "silver", "black"], random);
    Slots::new(&[
        ("opening", OPENINGS),
        ("P", p.name),
        ("Q", q.name),
        ("atP", &format!("{} the {}", p.at, p.name)),
        ("atQ", &format!("{} the {}", q.at, q.name)),
        ("place", &format!("the {}", p.name)),
        ("thing", thing),
        ("treat", treat),
        ("colour", colour),
        ("village", crate::world::VILLAGE),
    ])
}

/// Adds the pronouns of `figure`: `{Athey}`, `{Atheir}`, `{Athem}`.
fn with_words(slots: Slots, letter: &str, figure: &Figure) -> Slots {
    let [they, their, them] = figure.words;
    let name = |word: &str| format!("{letter}{word}");
    slots.with(&[(&name("they"), they), (&name("their"), their), (&name("them"), them)])
}

/// Two different figures.
fn two(random: &mut Random, draw: fn(&mut Random) -> Figure) -> (Figure, Figure) {
    let first = draw(random);
    loop {
        let second = draw(random);
        if second.name != first.name {
            return (first, second);
        }
    }
}

fn figure(random: &mut Random) -> Figure {
    if chance(25, random) {
        let child = pick(CHILDREN, random);
        return Figure { name: child.name.into(), full: child.name.into(), words: pronouns(child.she) };
    }
    let person = pick(PEOPLE, random);
    let full = if chance(60, random) { format!("{} the {}", person.name, person.job) } else { person.name.into() };
    Figure { name: person.name.into(), full, words: pronouns(person.she) }
}

fn animal(random: &mut Random) -> Figure {
    let animal = pick(ANIMALS, random);
    Figure {
        name: animal.name.into(),
        full: format!("{} the {}", animal.name, animal.kind),
        words: pronouns(animal.she),
    }
}

/// A short talk between two people; the captain and her parrot speak like sailors.
pub fn dialogue(turn: &(String, String), random: &mut Random) -> String {
    let asker = pick(CHILDREN, random);
    let (question, answer) = turn;
    let is_sailor = chance(35, random);
    let said = if is_sailor { sailor(answer) } else { answer.clone() };
    let who = if is_sailor {
        pick(&["Elsa", "Elsa the captain", "Polly the parrot", "Polly", "an old sailor"], random).to_owned()
    } else {
        pick(PEOPLE, random).name.to_owned()
    };
    // What is said ends with a comma before who says it.
    let said = if let Some(start) = said.strip_suffix('.') { format!("{start},") } else { said };
    let slots = Slots::new(&[("asker", asker.name), ("who", &who), ("question", question), ("said", &said)]);
    let template = "\"{question}\" asked {asker}. \"{said}\" [said|answered] {who}.";
    expand(template, &slots, random)
}
