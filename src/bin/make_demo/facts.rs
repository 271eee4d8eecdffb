//! Facts: what is true in the world as questions and answers, each in many wordings.

use crate::grammar::Slots;
use crate::world::{ANIMALS, Animal, BOATS, Boat, CHILDREN, Child, PEOPLE, PLACES, Person, Place, VILLAGE_FACTS};
use crate::world::{is_plural, person};

/// One thing that is true.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Whom or what it is about; facts of one subject follow one another in a conversation.
    pub subject: String,
    /// The words of its templates. `S` and `P` stand for the subject and its possessive: "Ada", "Ada's".
    pub slots: Slots,
    /// "she", "he" or "it", and the possessive: what may stand for `S` and `P` later in a conversation. Without,
    /// the subject is always named.
    pub pronoun: Option<[&'static str; 2]>,
    /// Template of questions.
    pub question: &'static str,
    /// Template of answers, whole sentences.
    pub answer: &'static str,
    /// What every right answer contains.
    pub key: String,
}

/// Everything that is true in Pebble Bay.
pub fn all() -> Vec<Fact> {
    let mut facts = Vec::new();
    PEOPLE.iter().for_each(|person| of_person(person, &mut facts));
    CHILDREN.iter().for_each(|child| of_child(child, &mut facts));
    ANIMALS.iter().for_each(|animal| of_animal(animal, &mut facts));
    BOATS.iter().for_each(|boat| of_boat(boat, &mut facts));
    PLACES.iter().for_each(|place| of_place(place, &mut facts));
    for &(question, answer, key) in VILLAGE_FACTS {
        facts.push(Fact {
            subject: "Pebble Bay".into(),
            slots: Slots::default(),
            pronoun: None,
            question,
            answer,
            key: key.into(),
        });
    }
    facts
}

/// "she" and her words.
pub fn pronouns(she: bool) -> [&'static str; 3] {
    if she { ["she", "her", "her"] } else { ["he", "his", "him"] }
}

/// Collects the facts of one subject.
struct Teller<'a> {
    subject: &'static str,
    pronoun: [&'static str; 2],
    slots: Slots,
    facts: &'a mut Vec<Fact>,
}

impl Teller<'_> {
    /// A fact of the subject; a question may go on with its pronoun.
    fn tell(&mut self, question: &'static str, answer: &'static str, key: &str) {
        self.add(Some(self.pronoun), question, answer, key);
    }

    /// A fact whose question does not name the subject, or must.
    fn tell_named(&mut self, question: &'static str, answer: &'static str, key: &str) {
        self.add(None, question, answer, key);
    }

    fn add(&mut self, pronoun: Option<[&'static str; 2]>, question: &'static str, answer: &'static str, key: &str) {
        let (subject, slots) = (self.subject.to_owned(), self.slots.clone());
        self.facts.push(Fact { subject, slots, pronoun, question, answer, key: key.into() });
    }
}

#[rustfmt::skip]
fn of_person(p: &'static Person, facts: &mut Vec<Fact>) {
    let [they, their, _] = pronouns(p.she);
    let at = crate::world::place(p.place).at;
    let are = if is_plural(p.keeps[0]) { "are" } else { "is" };
    let [base, does, _, object] = p.does;
    let slots = Slots::new(&[
        ("S", p.name), ("P", &format!("{}'s", p.name)), ("name", p.name), ("they", they), ("their", their), ("job", p.job),
        ("base", base), ("does", does), ("object", object), ("at", at), ("place", p.place), ("sells", p.sells),
        ("home", p.home), ("likes", p.likes), ("food", p.food), ("thing", p.keeps[0]), ("where", p.keeps[1]), ("are", are),
        ("wears", &wearing(p.wears)), ("up", p.up), ("friend", p.friend),
    ]);
    let mut t = Teller { subject: p.name, pronoun: [they, their], slots, facts };
    t.tell_named("[who is {S}|do you know {S}|tell me who {S} is|who's {S}]?", "{S} is the {job}. {they} {does} {object}.", p.job);
    t.tell("[what is {P} job|what does {S} do|what work does {S} do|what does {S} do all day]?", "[{S} is the {job}|{S} {does} {object}].", p.job);
    t.tell_named("[who {does} {object}|do you know who {does} {object}|which person {does} {object}]?", "{name} {does} {object}.", p.name);
    t.tell_named("[who is the {job}|what is the name of the {job}|what is the {job} called|do you know the {job}]?", "The {job} is {name}.", p.name);
    t.tell_named("[what does the {job} do|what is the work of the {job}|tell me what the {job} does]?", "The {job} {does} {object}.", object);
    t.tell("[where does {S} work|do you know where {S} works|tell me where {S} works]?", "{S} works {at} the {place}.", p.place);
    t.tell_named("[where can I find the {job}|where does the {job} work]?", "The {job} works {at} the {place}.", p.place);
    t.tell_named("[who works {at} the {place}|who can I meet {at} the {place}]?", "{name} works {at} the {place}.", p.name);
    t.tell("[where does {S} live|where is {P} home|do you know where {S} lives|tell me where {S} lives]?", "{S} lives {home}.", p.home);
    t.tell_named("[who lives {home}|do you know who lives {home}]?", "{name} lives {home}.", p.name);
    if !p.sells.is_empty() {
        t.tell("[what does {S} sell|what can I buy from {S}|what can I get from {S}]?", "{S} sells {sells}.", p.sells);
        t.tell_named("[what does the {job} sell|what can I buy {at} the {place}]?", "The {job} sells {sells}.", p.sells);
        t.tell_named("[where can I buy {sells}|where can I get {sells}|where do I find {sells}|I need {sells}. Where do I go]?", "You can buy {sells} {at} the {place}.", p.place);
        t.tell_named("[who sells {sells}|who has {sells}]?", "{name} sells {sells}.", p.name);
    }
    t.tell("[what does {S} like to do|what is {P} hobby|what does {S} do after work|what does {S} do for fun]?", "{S} likes to {likes}.", p.likes);
    t.tell_named("[who likes to {likes}|do you know who likes to {likes}]?", "{name} likes to {likes}.", p.name);
    t.tell("[what does {S} like to eat|what is {P} favourite food|what does {S} eat]?", "{S} likes to eat {food}.", p.food);
    t.tell("[where does {S} keep {their} {thing}|where {are} {P} {thing}|do you know where {S} keeps {their} {thing}]?", "{S} keeps {their} {thing} {where}.", p.keeps[1]);
    t.tell("what does {S} keep {where}?", "{S} keeps {their} {thing} {where}.", p.keeps[0]);
    t.tell("[what does {S} wear|what is {S} wearing|what does {S} wear every day]?", "{S} wears {wears}.", p.wears[0]);
    t.tell("[when does {S} get up|at what time does {S} get up|when does {S} wake up]?", "{S} gets up at {up}.", p.up);
    t.tell("[who is {P} best friend|who is {P} friend|who does {S} like most]?", "{P} best friend is {friend}.", p.friend);
}

/// "a dog", "an owl".
pub fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// "a white apron", "brown gloves".
pub fn wearing([colour, garment]: [&str; 2]) -> String {
    let both = format!("{colour} {garment}");
    if garment.ends_with('s') && !garment.ends_with("ss") { both } else { with_article(&both) }
}

#[rustfmt::skip]
fn of_child(c: &'static Child, facts: &mut Vec<Fact>) {
    let [they, their, _] = pronouns(c.she);
    let (kind, offspring) = if c.she { ("girl", "daughter") } else { ("boy", "son") };
    let parent = if person(c.parent).she { "mother" } else { "father" };
    let home = person(c.parent).home;
    let slots = Slots::new(&[
        ("S", c.name), ("P", &format!("{}'s", c.name)), ("name", c.name), ("they", they), ("their", their), ("kind", kind),
        ("offspring", offspring), ("parent", c.parent), ("role", parent), ("home", home), ("age", c.age),
        ("colour", c.toy[0]), ("toy", c.toy[1]), ("dream", c.dream), ("friend", c.friend),
    ]);
    let mut t = Teller { subject: c.name, pronoun: [they, their], slots, facts };
    t.tell_named("[who is {S}|do you know {S}|tell me who {S} is]?", "{S} is a {kind}. {they} is {parent}'s {offspring}.", c.parent);
    t.tell("[who is {P} {role}|what is the name of {P} {role}|do you know {P} {role}]?", "{P} {role} is {parent}.", c.parent);
    t.tell_named("[who is {parent}'s {offspring}|does {parent} have a child|what is {parent}'s {offspring} called]?", "{parent}'s {offspring} is called {name}.", c.name);
    t.tell("[how old is {S}|what is {P} age|do you know how old {S} is]?", "{S} is {age} years old.", c.age);
    t.tell("[what toy does {S} have|what does {S} play with]?", "{S} plays with {their} {colour} {toy}.", c.toy[1]);
    t.tell("[what colour is {P} {toy}|which colour does {P} {toy} have]?", "{P} {toy} is {colour}.", c.toy[0]);
    t.tell_named("[who has a {colour} {toy}|whose {toy} is {colour}|who plays with a {colour} {toy}]?", "{name} has a {colour} {toy}.", c.name);
    t.tell("[what does {S} want to be|what does {S} want to become|what is {P} dream]?", "{S} wants to be {dream}.", c.dream);
    t.tell("[who is {P} best friend|who does {S} play with|who is {P} friend]?", "{P} best friend is {friend}.", c.friend);
    t.tell("[where does {S} live|where is {P} home]?", "{S} lives {home}.", home);
}

#[rustfmt::skip]
fn of_animal(a: &'static Animal, facts: &mut Vec<Fact>) {
    let [they, their, them] = pronouns(a.she);
    let slots = Slots::new(&[
        ("S", a.name), ("P", &format!("{}'s", a.name)), ("name", a.name), ("they", they), ("their", their), ("them", them),
        ("colour", a.colour), ("kind", a.kind), ("a_kind", &with_article(a.kind)), ("owner", a.owner), ("sleeps", a.sleeps),
        ("food", a.food), ("base", a.does[0]), ("does", a.does[1]),
    ]);
    let mut t = Teller { subject: a.name, pronoun: [they, their], slots, facts };
    let who = if a.owner.is_empty() { "{S} is a {colour} {kind}. {they} belongs to nobody." } else { "{S} is a {colour} {kind}. {they} belongs to {owner}." };
    t.tell_named("[who is {S}|do you know {S}|tell me who {S} is]?", who, a.kind);
    t.tell("[what kind of animal is {S}|what animal is {S}|is {S} a person or an animal]?", "{S} is {a_kind}.", a.kind);
    t.tell("[what colour is {S}|which colour is {S}|what does {S} look like]?", "{S} is {colour}.", a.colour);
    t.tell("[where does {S} sleep|where does {S} rest|do you know where {S} sleeps]?", "{S} sleeps {sleeps}.", a.sleeps);
    t.tell("[what does {S} like to eat|what does {S} eat|what is {P} favourite food]?", "{S} likes to eat {food}.", a.food);
    t.tell("[what does {S} do all day|what does {S} like to do|what does {S} do]?", "{S} {does}.", a.does[1]);
    t.tell_named("[what does the {kind} eat|what does the {kind} like to eat]?", "{S} the {kind} likes to eat {food}.", a.food);
    t.tell_named("[where does the {kind} sleep|where is the {kind} at night]?", "{S} the {kind} sleeps {sleeps}.", a.sleeps);
    t.tell_named("[what does the {kind} do|what does the {kind} do all day]?", "{S} the {kind} {does}.", a.does[1]);
    t.tell_named("[who {does}|which animal {does}]?", "{name} the {kind} {does}.", a.name);
    t.tell_named("[who sleeps {sleeps}|which animal sleeps {sleeps}]?", "{name} the {kind} sleeps {sleeps}.", a.name);
    if a.owner.is_empty() {
        t.tell("[who does {S} belong to|who is {P} owner]?", "{S} belongs to nobody.", "nobody");
        t.tell_named("[what is the {kind} called|what is the name of the {kind}]?", "The {kind} is called {name}.", a.name);
    } else {
        t.tell("[who does {S} belong to|who is {P} owner|do you know who {S} belongs to]?", "{S} belongs to {owner}.", a.owner);
        t.tell_named("[what is {owner}'s {kind} called|what is the name of {owner}'s {kind}]?", "{owner}'s {kind} is called {name}.", a.name);
        t.tell_named("[who has {a_kind}|whose {kind} is {name}|who is the owner of {name}]?", "{owner} has {a_kind} called {name}.", a.owner);
        t.tell_named("[what animal does {owner} have|does {owner} have an animal]?", "{owner} has {a_kind} called {name}.", a.kind);
    }
}

#[rustfmt::skip]
fn of_boat(b: &'static Boat, facts: &mut Vec<Fact>) {
    let slots = Slots::new(&[
        ("S", &format!("the {}", b.name)), ("name", b.name), ("colour", b.colour), ("kind", b.kind), ("owner", b.owner),
        ("kept", b.kept),
    ]);
    let mut t = Teller { subject: b.name, pronoun: ["it", "its"], slots, facts };
    t.tell_named("[what is {S}|what kind of boat is {S}|do you know {S}]?", "{S} is a {colour} {kind}. It belongs to {owner}.", b.kind);
    t.tell("[what colour is {S}|which colour does {S} have]?", "{S} is {colour}.", b.colour);
    t.tell("[who does {S} belong to|who is the owner of {S}|who owns {S}]?", "{S} belongs to {owner}.", b.owner);
    t.tell("[where is {S}|where is {S} kept|where can I see {S}]?", "{S} is {kept}.", b.kept);
    t.tell_named("[what is {owner}'s boat called|what is the name of {owner}'s boat|which boat belongs to {owner}]?", "{owner}'s boat is called the {name}.", b.name);
    t.tell_named("[where does {owner} keep the boat|where is {owner}'s boat|where is the boat of {owner}]?", "{owner}'s boat is {kept}.", b.kept);
    t.tell_named("[what colour is {owner}'s boat|which colour does {owner}'s boat have]?", "{owner}'s boat is {colour}.", b.colour);
}

#[rustfmt::skip]
fn of_place(p: &'static Place, facts: &mut Vec<Fact>) {
    let slots = Slots::new(&[
        ("S", &format!("the {}", p.name)), ("name", p.name), ("at", p.at), ("is", p.is), ("colour", p.part[0]),
        ("a_part", &wearing(p.part)), ("can", p.can), ("opens", p.opens),
    ]);
    let mut t = Teller { subject: p.name, pronoun: ["it", "its"], slots, facts };
    t.tell("[where is {S}|where can I find {S}|how do I find {S}|do you know where {S} is]?", "{S} is {is}.", p.is);
    t.tell_named("[what can I do {at} the {name}|what can you do {at} the {name}|why do people go to the {name}]?", "{at} the {name} you can {can}.", p.can);
    t.tell_named("[where can I {can}|where do people {can}|I want to {can}. Where do I go]?", "You can {can} {at} the {name}.", p.name);
    if !p.part[1].is_empty() {
        t.tell_named("[what does the {name} look like|how do I know the {name}]?", "The {name} has {a_part}.", p.part[1]);
        t.tell_named("[what has {a_part}|which house has {a_part}]?", "The {name} has {a_part}.", p.name);
    }
    if !p.opens.is_empty() {
        t.tell("[when does {S} open|at what time does {S} open|what time does {S} open]?", "{S} opens at {opens}.", p.opens);
    }
}
