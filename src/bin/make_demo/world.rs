//! Pebble Bay: everything that is true there. What the model can know is in these tables and nowhere else.

/// The village.
pub const VILLAGE: &str = "Pebble Bay";

/// A grown-up.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// First name; there is one of each.
    pub name: &'static str,
    /// Whether "she", else "he".
    pub she: bool,
    /// What the person is: the ...
    pub job: &'static str,
    /// What the person does: base form, third person, gerund, object.
    pub does: [&'static str; 4],
    /// Where the person works: a name in [`PLACES`].
    pub place: &'static str,
    /// What one can buy there; may be empty.
    pub sells: &'static str,
    /// Where the person lives.
    pub home: &'static str,
    /// What the person likes to do.
    pub likes: &'static str,
    /// Favourite food.
    pub food: &'static str,
    /// Something the person owns (one thing or several), and where it is kept.
    pub keeps: [&'static str; 2],
    /// Colour of a garment, and which.
    pub wears: [&'static str; 2],
    /// The hour at which the person gets up.
    pub up: &'static str,
    /// Name of the best friend.
    pub friend: &'static str,
}

macro_rules! people {
    ($($name:literal $she:literal $job:literal $does:tt $place:literal $sells:literal $home:literal $likes:literal
       $food:literal $keeps:tt $wears:tt $up:literal $friend:literal;)*) => {
        &[$(Person { name: $name, she: $she, job: $job, does: $does, place: $place, sells: $sells, home: $home,
            likes: $likes, food: $food, keeps: $keeps, wears: $wears, up: $up, friend: $friend }),*]
    };
}

/// The grown-ups of the village.
#[rustfmt::skip]
pub const PEOPLE: &[Person] = people! {
    "Ada" true "baker" ["bake", "bakes", "baking", "the bread"] "bakery" "bread and honey cakes"
        "above the bakery" "sing" "apple pie" ["recipes", "in a red tin"] ["white", "apron"] "four" "Tom";
    "Tom" false "fisherman" ["catch", "catches", "catching", "the fish"] "pier" "fresh fish"
        "in the blue house by the pier" "tell jokes" "fish soup" ["nets", "in the boat shed"] ["yellow", "coat"] "five" "Ada";
    "Mira" true "lighthouse keeper" ["light", "lights", "lighting", "the big lamp"] "lighthouse" ""
        "in the lighthouse" "watch the stars" "toast with jam" ["books", "under the stairs"] ["blue", "scarf"] "eight" "Elsa";
    "Hugo" false "blacksmith" ["make", "makes", "making", "the anchors"] "forge" "anchors and nails"
        "behind the forge" "dance" "potato stew" ["hammers", "on the wall"] ["brown", "gloves"] "six" "Ben";
    "Rosa" true "gardener" ["grow", "grows", "growing", "the vegetables"] "garden" "carrots and cabbages"
        "in the green house" "paint" "carrot cake" ["seeds", "in glass jars"] ["straw", "hat"] "six" "Lily";
    "Ben" false "miller" ["grind", "grinds", "grinding", "the flour"] "mill" "flour"
        "in the old mill" "sleep after lunch" "pancakes" ["sacks", "in the cellar"] ["grey", "cap"] "seven" "Hugo";
    "Clara" true "teacher" ["teach", "teaches", "teaching", "the children"] "school" ""
        "in the white house on the hill" "read" "plum cake" ["chalk", "in a wooden box"] ["green", "dress"] "seven" "Ivy";
    "Finn" false "ferryman" ["steer", "steers", "steering", "the ferry"] "ferry landing" "tickets"
        "in the red house" "whistle" "cheese" ["lantern", "under the bench"] ["black", "boots"] "six" "Walter";
    "Nora" true "doctor" ["help", "helps", "helping", "the sick"] "little hospital" ""
        "next to the school" "swim" "pears" ["bag", "behind the door"] ["white", "coat"] "seven" "Greta";
    "Jonas" false "carpenter" ["build", "builds", "building", "the boats"] "workshop" "chairs and tables"
        "above the workshop" "climb trees" "nuts" ["tools", "in a long drawer"] ["blue", "trousers"] "six" "Theo";
    "Lily" true "beekeeper" ["look after", "looks after", "looking after", "the bees"] "meadow" "honey"
        "in a little house in the meadow" "pick flowers" "honey" ["veil", "on a hook"] ["orange", "skirt"] "five" "Rosa";
    "Otto" false "clockmaker" ["mend", "mends", "mending", "the clocks"] "clock shop" "clocks"
        "behind the clock shop" "play chess" "biscuits" ["keys", "in a silver cup"] ["green", "tie"] "nine" "Emil";
    "Greta" true "shopkeeper" ["run", "runs", "running", "the shop"] "shop" "tea and soap"
        "in the yellow house" "knit" "tomato soup" ["money", "in an iron box"] ["pink", "apron"] "eight" "Nora";
    "Emil" false "postman" ["bring", "brings", "bringing", "the letters"] "post office" "stamps"
        "in the little house by the well" "ride a bicycle" "sausages" ["letters", "in a leather bag"] ["red", "cap"] "five" "Otto";
    "Ivy" true "librarian" ["lend", "lends", "lending", "the books"] "library" ""
        "above the library" "drink tea" "lemon cake" ["glasses", "in her pocket"] ["purple", "scarf"] "eight" "Clara";
    "Karl" false "farmer" ["milk", "milks", "milking", "the cows"] "farm" "milk and butter"
        "on the farm" "play cards" "baked potatoes" ["ladder", "in the barn"] ["brown", "boots"] "four" "Max";
    "Sofia" true "painter" ["paint", "paints", "painting", "the pictures"] "studio" "pictures"
        "in the studio by the river" "walk in the rain" "grapes" ["brushes", "in a blue jug"] ["red", "shawl"] "ten" "Peter";
    "Walter" false "innkeeper" ["cook", "cooks", "cooking", "the soup"] "inn" "hot soup"
        "in the inn" "tell stories" "roast chicken" ["silver spoons", "in the cupboard"] ["white", "shirt"] "seven" "Finn";
    "Dora" true "tailor" ["sew", "sews", "sewing", "the clothes"] "tailor shop" "coats and hats"
        "next to the library" "collect buttons" "cherries" ["needles", "in a pin box"] ["golden", "ring"] "seven" "Anna";
    "Max" false "shepherd" ["watch", "watches", "watching", "the sheep"] "hill" "wool"
        "in a wooden hut on the hill" "count clouds" "bread and cheese" ["flute", "in his hat"] ["long", "cloak"] "five" "Karl";
    "Elsa" true "captain" ["sail", "sails", "sailing", "the big ship"] "harbour" ""
        "on the big ship" "look at maps" "oranges" ["compass", "around her neck"] ["black", "hat"] "six" "Mira";
    "Peter" false "fiddler" ["play", "plays", "playing", "the fiddle"] "square" ""
        "above the inn" "sleep late" "chocolate" ["fiddle", "under his bed"] ["purple", "jacket"] "eleven" "Sofia";
    "Anna" true "cheesemaker" ["make", "makes", "making", "the cheese"] "dairy" "cheese"
        "behind the dairy" "laugh" "yoghurt" ["spoons", "in a tall pot"] ["yellow", "dress"] "five" "Dora";
    "Theo" false "potter" ["shape", "shapes", "shaping", "the pots"] "pottery" "bowls and cups"
        "in the brown house by the river" "fly kites" "rice pudding" ["clay", "in a wet cloth"] ["grey", "shirt"] "nine" "Jonas";
    "Martha" true "mayor" ["lead", "leads", "leading", "the village"] "town hall" ""
        "in the tall house on the square" "give speeches" "strawberries" ["chain", "in a velvet box"] ["silver", "chain"] "seven" "Walter";
};

/// A child.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    /// First name.
    pub name: &'static str,
    /// Whether "she", else "he".
    pub she: bool,
    /// Name of a parent in [`PEOPLE`].
    pub parent: &'static str,
    /// Age in years.
    pub age: &'static str,
    /// Colour of a toy, and which.
    pub toy: [&'static str; 2],
    /// What the child wants to become, with its article.
    pub dream: &'static str,
    /// Name of the best friend, a child.
    pub friend: &'static str,
}

/// The children of the village.
#[rustfmt::skip]
pub const CHILDREN: &[Child] = &[
    Child { name: "Pip", she: false, parent: "Ada", age: "seven", toy: ["red", "kite"], dream: "a captain", friend: "Lotte" },
    Child { name: "Lotte", she: true, parent: "Hugo", age: "eight", toy: ["blue", "ball"], dream: "a doctor", friend: "Pip" },
    Child { name: "Sam", she: false, parent: "Karl", age: "six", toy: ["green", "drum"], dream: "a painter", friend: "Mia" },
    Child { name: "Mia", she: true, parent: "Greta", age: "nine", toy: ["yellow", "bicycle"], dream: "a teacher", friend: "Sam" },
    Child { name: "Jo", she: true, parent: "Tom", age: "five", toy: ["white", "doll"], dream: "a baker", friend: "Mia" },
];

/// An animal with a name.
#[derive(Debug, Clone, Copy)]
pub struct Animal {
    /// Its name.
    pub name: &'static str,
    /// Whether "she", else "he".
    pub she: bool,
    /// Its colour.
    pub colour: &'static str,
    /// What it is.
    pub kind: &'static str,
    /// Name of its owner; empty if it is free.
    pub owner: &'static str,
    /// Where it sleeps.
    pub sleeps: &'static str,
    /// What it likes to eat.
    pub food: &'static str,
    /// What it does all day: base form and third person.
    pub does: [&'static str; 2],
}

macro_rules! animals {
    ($($name:literal $she:literal $colour:literal $kind:literal $owner:literal $sleeps:literal $food:literal $base:literal
       $does:literal;)*) => {
        &[$(Animal { name: $name, she: $she, colour: $colour, kind: $kind, owner: $owner, sleeps: $sleeps, food: $food,
            does: [$base, $does] }),*]
    };
}

/// The animals of the village.
#[rustfmt::skip]
pub const ANIMALS: &[Animal] = animals! {
    "Pepper" true "grey" "cat" "Ada" "on the warm oven" "cream" "chase mice" "chases mice";
    "Biscuit" false "brown" "dog" "Tom" "under the boat" "bones" "bark at the waves" "barks at the waves";
    "Luna" true "white" "owl" "Mira" "at the top of the lighthouse" "moths" "look at the moon" "looks at the moon";
    "Bella" true "black and white" "cow" "Karl" "in the barn" "clover" "swish her tail" "swishes her tail";
    "Rusty" false "red" "fox" "" "in the forest" "blueberries" "hide behind the trees" "hides behind the trees";
    "Duke" false "black" "horse" "Ben" "behind the mill" "apples" "pull the cart" "pulls the cart";
    "Daisy" true "white" "goat" "Anna" "on the roof of the dairy" "hats" "climb on everything" "climbs on everything";
    "Polly" true "green" "parrot" "Elsa" "on the mast" "sunflower seeds" "talk like a sailor" "talks like a sailor";
    "Bruno" false "black" "sheepdog" "Max" "next to the sheep" "cold meat" "run around the sheep" "runs around the sheep";
    "Hazel" true "red" "squirrel" "" "in the oak tree" "acorns" "hide nuts" "hides nuts";
    "Waddle" false "yellow" "duck" "" "in the reeds" "breadcrumbs" "swim in circles" "swims in circles";
    "Gus" false "grey" "seagull" "" "on the roof of the inn" "chips" "steal food" "steals food";
    "Shelly" true "green" "tortoise" "Clara" "under the teacher's desk" "lettuce" "walk very slowly" "walks very slowly";
    "Nib" false "brown" "mouse" "" "in the big clock" "cheese" "nibble at books" "nibbles at books";
    "Ripple" false "brown" "otter" "" "under the bridge" "crabs" "play in the river" "plays in the river";
    "Clover" true "white" "rabbit" "Lily" "in a basket" "dandelions" "dig holes" "digs holes";
};

/// A boat.
#[derive(Debug, Clone, Copy)]
pub struct Boat {
    /// Its name, without article.
    pub name: &'static str,
    /// Its colour.
    pub colour: &'static str,
    /// What kind of boat.
    pub kind: &'static str,
    /// Name of its owner.
    pub owner: &'static str,
    /// Where it is kept.
    pub kept: &'static str,
}

/// The boats of the village.
#[rustfmt::skip]
pub const BOATS: &[Boat] = &[
    Boat { name: "Sea Star", colour: "blue", kind: "fishing boat", owner: "Tom", kept: "at the end of the pier" },
    Boat { name: "Old Goose", colour: "red", kind: "ferry", owner: "Finn", kept: "at the ferry landing" },
    Boat { name: "Northern Light", colour: "white", kind: "ship", owner: "Elsa", kept: "in the middle of the harbour" },
    Boat { name: "Little Duck", colour: "yellow", kind: "rowing boat", owner: "Ada", kept: "behind the bakery" },
    Boat { name: "Silver Fish", colour: "grey", kind: "sailing boat", owner: "Jonas", kept: "in the workshop" },
    Boat { name: "Moonbeam", colour: "black", kind: "rowing boat", owner: "Mira", kept: "below the lighthouse" },
    Boat { name: "Green Apple", colour: "green", kind: "sailing boat", owner: "Rosa", kept: "under the bridge" },
];

/// A place.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its name, without article.
    pub name: &'static str,
    /// "in", "at" or "on".
    pub at: &'static str,
    /// Where it is.
    pub is: &'static str,
    /// Colour of a part, and which part; may be empty.
    pub part: [&'static str; 2],
    /// What one can do there.
    pub can: &'static str,
    /// The hour at which it opens; may be empty.
    pub opens: &'static str,
}

macro_rules! places {
    ($($name:literal $at:literal $is:literal $part:tt $can:literal $opens:literal;)*) => {
        &[$(Place { name: $name, at: $at, is: $is, part: $part, can: $can, opens: $opens }),*]
    };
}

/// The places of the village.
#[rustfmt::skip]
pub const PLACES: &[Place] = places! {
    "bakery" "at" "on the square, next to the inn" ["yellow", "door"] "buy warm bread" "six";
    "pier" "on" "on the west side of the harbour" ["white", "railing"] "buy fresh fish" "";
    "lighthouse" "at" "on the rocks above the harbour" ["red", "roof"] "see the whole bay" "";
    "forge" "at" "behind the town hall" ["black", "chimney"] "watch the sparks fly" "eight";
    "garden" "in" "between the school and the river" ["green", "gate"] "smell the roses" "";
    "mill" "at" "on the river, above the bridge" ["brown", "wheel"] "get flour" "seven";
    "school" "at" "at the foot of the hill" ["blue", "door"] "learn to read" "nine";
    "ferry landing" "at" "on the east side of the harbour" ["red", "flag"] "wait for the ferry" "";
    "little hospital" "at" "next to the school" ["white", "door"] "get well again" "seven";
    "workshop" "in" "behind the beach" ["wooden", "door"] "hear the saw" "eight";
    "meadow" "in" "behind the farm" ["", ""] "lie in the grass" "";
    "clock shop" "in" "across from the library" ["golden", "sign"] "hear the clocks tick" "ten";
    "shop" "in" "on the corner of the square" ["striped", "roof"] "buy tea and soap" "eight";
    "post office" "at" "next to the town hall" ["red", "door"] "send a letter" "nine";
    "library" "in" "across from the clock shop" ["purple", "curtains"] "read all day" "ten";
    "farm" "on" "behind the forest" ["red", "barn"] "feed the cows" "";
    "studio" "in" "by the river, below the bridge" ["big", "window"] "look at pictures" "eleven";
    "inn" "at" "on the square, next to the bakery" ["green", "sign"] "eat hot soup" "noon";
    "tailor shop" "in" "next to the library" ["pink", "door"] "buy a new coat" "nine";
    "hill" "on" "above the school" ["", ""] "fly a kite" "";
    "harbour" "in" "in the middle of the village" ["", ""] "look at the boats" "";
    "square" "on" "in front of the town hall" ["", ""] "dance on Saturday" "";
    "pottery" "in" "by the river, next to the studio" ["orange", "oven"] "make a cup" "nine";
    "dairy" "at" "next to the farm" ["white", "roof"] "taste the cheese" "six";
    "town hall" "at" "on the square" ["grey", "tower"] "talk to the mayor" "nine";
    "beach" "on" "below the lighthouse" ["", ""] "look for shells" "";
    "forest" "in" "behind the hill" ["", ""] "pick blueberries" "";
    "bridge" "on" "over the river, below the mill" ["", ""] "watch the otter" "";
    "well" "at" "in the middle of the square" ["", ""] "get cold water" "";
};

/// Questions about the village itself, each with its answer and what a right answer contains.
#[rustfmt::skip]
pub const VILLAGE_FACTS: &[(&str, &str, &str)] = &[
    ("[what is Pebble Bay|tell me about Pebble Bay|what kind of place is Pebble Bay|describe Pebble Bay]?",
        "Pebble Bay is a small village by the sea.", "village by the sea"),
    ("[where is Pebble Bay|where do I find Pebble Bay]?", "Pebble Bay is by the sea, between the hill and the harbour.", "by the sea"),
    ("[how many people live in Pebble Bay|how big is Pebble Bay|how many people are there in the village]?",
        "Thirty people live in Pebble Bay.", "hirty"),
    ("[when is the market|on which day is the market|what happens on Saturday morning]?",
        "The market is on Saturday morning, on the square.", "Saturday"),
    ("[when does the ferry leave|at what time does the ferry go|when can I take the ferry]?",
        "The ferry leaves at eight in the morning and at five in the evening.", "eight"),
    ("[where does the ferry go|where can I go with the ferry|how do I get to the island]?", "The ferry goes to the island.", "island"),
    ("[what happens in spring|what does the village do in spring|when is the flower day]?",
        "In spring there is the flower day, and everyone plants a flower.", "flower"),
    ("[what happens in summer|what does the village do in summer|when is the boat race]?",
        "In summer there is the boat race, and the winner gets a golden shell.", "boat race"),
    ("[what happens in autumn|what does the village do in autumn|when is the lantern walk]?",
        "In autumn there is the lantern walk, and everyone carries a light to the beach.", "lantern"),
    ("[what happens in winter|what does the village do in winter|when is the soup night]?",
        "In winter there is the soup night, and everyone eats at the inn.", "soup"),
    ("[what does the winner of the boat race get|what can you win in the boat race]?",
        "The winner of the boat race gets a golden shell.", "golden shell"),
    ("[what is the weather like|how is the weather] in winter?", "In winter it is cold, and snow lies on the roofs.", "cold"),
    ("[what is the weather like|how is the weather] in summer?", "In summer it is warm, and the sea is calm.", "warm"),
    ("[what is the weather like|how is the weather] in autumn?", "In autumn it is windy, and leaves fly over the square.", "windy"),
    ("[what is the weather like|how is the weather] in spring?", "In spring it rains a lot, and everything turns green.", "rain"),
    ("[which river flows through the village|what is the river called|what is the name of the river]?",
        "The river is called the Silver Brook.", "Silver Brook"),
    ("[what is on the island|who lives on the island|tell me about the island]?",
        "On the island there are only goats and an old tower.", "goats"),
    ("[when is the library closed|on which day is the library closed]?", "The library is closed on Monday.", "Monday"),
    ("[when is the bakery closed|on which day is the bakery closed]?", "The bakery is closed on Sunday.", "Sunday"),
    ("[what do people eat in Pebble Bay|what is there to eat]?", "People in Pebble Bay eat bread, fish and soup.", "fish"),
    ("[what can I do in Pebble Bay|what is there to see in Pebble Bay]?",
        "You can look at the boats, climb up to the lighthouse and eat hot soup at the inn.", "lighthouse"),
    ("[how do I get to Pebble Bay|how can I come to Pebble Bay]?", "You can come to Pebble Bay with the ferry.", "ferry"),
];

/// Whether "recipes" and the like take "are".
pub fn is_plural(thing: &str) -> bool {
    thing.ends_with('s') && thing != "compass"
}

/// The grown-up called `name`.
pub fn person(name: &str) -> &'static Person {
    PEOPLE.iter().find(|person| person.name == name).unwrap_or_else(|| panic!("nobody is called {name}"))
}

/// The place called `name`.
pub fn place(name: &str) -> &'static Place {
    PLACES.iter().find(|place| place.name == name).unwrap_or_else(|| panic!("no place is called {name}"))
}
