//! Juno the toymaker and her cat Diablo, who come to the village: what the second bundled data set teaches.

/// A fact: its answer, and the questions that ask for it. The last two are kept for the test, the one before them for
/// validation.
pub type News = (&'static str, &'static [&'static str]);

/// Everything new.
#[rustfmt::skip]
pub const NEWS: &[News] = &[
    ("Juno is the toymaker. She came to Pebble Bay in spring.", &[
        "Who is Juno?", "Do you know Juno?", "Who's Juno?", "Can you tell me who Juno is?", "Is there someone called Juno?",
        "Have you heard of Juno?", "Who is this Juno?", "Tell me who Juno is.", "Do you know who Juno is?"]),
    ("Juno makes toys.", &[
        "What does Juno do?", "What is Juno's job?", "What is the work of Juno?", "What does Juno make?", "What does Juno do all day?",
        "What does the toymaker make?", "What does the toymaker do?", "What work does Juno do?", "Tell me what the toymaker does."]),
    ("The toymaker is Juno.", &[
        "Who is the toymaker?", "What is the toymaker called?", "Who makes the toys?", "Do you know the toymaker?", "Which person makes the toys?",
        "Who makes toys?", "Who works at the toy shop?", "What is the name of the toymaker?", "Do you know who makes the toys?"]),
    ("Juno works at the toy shop.", &[
        "Where does Juno work?", "Do you know where Juno works?", "Where can I find the toymaker?", "Where is Juno during the day?",
        "Where can I find Juno?", "Where can I meet Juno?", "In which shop does Juno work?", "Tell me where Juno works.", "Where does the toymaker work?"]),
    ("The toy shop is on the pier.", &[
        "Where is the toy shop?", "Where can I find the toy shop?", "How do I find the toy shop?", "How do I get to the toy shop?",
        "Is there a toy shop?", "Where is Juno's shop?", "In which place is the toy shop?", "Do you know where the toy shop is?", "Tell me where the toy shop is."]),
    ("The toy shop has an orange door.", &[
        "What does the toy shop look like?", "How do I know the toy shop?", "What has an orange door?", "What colour is the door of the toy shop?",
        "Which shop has an orange door?", "Which colour is the door of the toy shop?", "What does Juno's shop look like?", "Which house has an orange door?",
        "What is the colour of the door of the toy shop?"]),
    ("The toy shop opens at ten.", &[
        "When does the toy shop open?", "What time does the toy shop open?", "When can I go to the toy shop?", "When does Juno's shop open?",
        "When is the toy shop open?", "At what hour does the toy shop open?", "From what time is the toy shop open?", "At what time does the toy shop open?",
        "Do you know when the toy shop opens?"]),
    ("Juno sells dolls and little trains.", &[
        "What does Juno sell?", "What can I buy from Juno?", "What does the toymaker sell?", "What can I get from Juno?", "What is there to buy at the toy shop?",
        "What does Juno have in the shop?", "Who sells dolls and little trains?", "What can I buy at the toy shop?", "Tell me what Juno sells."]),
    ("You can buy dolls at the toy shop.", &[
        "Where can I buy dolls?", "Where can I buy a doll?", "Where can I get dolls?", "I need a doll. Where do I go?", "Where do people buy dolls?",
        "Where can I find a doll?", "Which shop sells dolls?", "Where do I find dolls?", "Where can I get a doll?"]),
    ("Juno lives above the toy shop.", &[
        "Where does Juno live?", "Where is Juno's home?", "Do you know where Juno lives?", "Who lives above the toy shop?", "Where is Juno's house?",
        "Where does Juno stay?", "Where does Juno sleep?", "Tell me where Juno lives.", "Do you know where Juno's home is?"]),
    ("Juno came from the island.", &[
        "Where does Juno come from?", "Which place did Juno come from?", "Where did Juno live before?", "Is Juno from Pebble Bay?", "Which place is Juno from?",
        "Where was Juno before?", "Did Juno grow up in Pebble Bay?", "Where is Juno from?", "Where did Juno come from?"]),
    ("Juno came to Pebble Bay with the ferry.", &[
        "How did Juno come to Pebble Bay?", "How did Juno get here?", "How did Juno come here?", "Did Juno come with a boat?",
        "With which boat did Juno come?", "Do you know how Juno came here?", "How did Juno travel?", "How did Juno get to Pebble Bay?", "Tell me how Juno came to Pebble Bay."]),
    ("Juno likes to juggle.", &[
        "What does Juno like to do?", "What is Juno's hobby?", "What does Juno do after work?", "Who likes to juggle?", "What does Juno do in the evening?",
        "What does Juno enjoy?", "What is the hobby of Juno?", "What does Juno do for fun?", "Do you know Juno's hobby?"]),
    ("Juno likes to eat waffles.", &[
        "What does Juno like to eat?", "What is Juno's favourite food?", "What does Juno eat?", "What food does Juno like?", "Who likes to eat waffles?",
        "What should I cook for Juno?", "Which food does Juno like?", "Do you know Juno's favourite food?", "What is the favourite food of Juno?"]),
    ("Juno wears a purple hat.", &[
        "What does Juno wear?", "What is Juno wearing?", "How do I know Juno?", "Who wears a purple hat?", "What does Juno look like?",
        "What colour is Juno's hat?", "What hat does Juno wear?", "What does Juno wear every day?", "Which hat does Juno wear?"]),
    ("Juno keeps her paints in a teapot.", &[
        "Where does Juno keep her paints?", "Where are Juno's paints?", "What does Juno keep in a teapot?", "What is in Juno's teapot?",
        "Where can I find Juno's paints?", "Where does Juno put her paints?", "In what does Juno keep her paints?", "Do you know where Juno keeps her paints?",
        "Tell me where Juno keeps her paints."]),
    ("Juno's best friend is Theo.", &[
        "Who is Juno's best friend?", "Who does Juno like most?", "Who is the best friend of Juno?", "Does Juno have a friend?",
        "Who is Juno often with?", "What is the name of Juno's friend?", "Which friend does Juno have?", "Who is Juno's friend?", "Do you know Juno's best friend?"]),
    ("Juno gets up at eight.", &[
        "When does Juno get up?", "When does Juno wake up?", "What time does Juno get up?", "Does Juno get up early?", "At what hour does Juno get up?",
        "How long does Juno sleep?", "What time does Juno wake up?", "At what time does Juno get up?", "Do you know when Juno gets up?"]),
    ("Diablo is a black cat. He belongs to Juno.", &[
        "Who is Diablo?", "Do you know Diablo?", "Who's Diablo?", "Can you tell me who Diablo is?", "Is there someone called Diablo?",
        "Have you heard of Diablo?", "Who is this Diablo?", "Tell me who Diablo is.", "Do you know who Diablo is?"]),
    ("Diablo is a cat.", &[
        "What kind of animal is Diablo?", "What is Diablo?", "Is Diablo a person or an animal?", "Which animal is Diablo?", "Is Diablo a dog or a cat?",
        "What sort of animal is Diablo?", "Is Diablo an animal?", "What animal is Diablo?", "Do you know what animal Diablo is?"]),
    ("Diablo belongs to Juno.", &[
        "Who does Diablo belong to?", "Who is Diablo's owner?", "Whose cat is Diablo?", "Who has a cat called Diablo?", "To whom does Diablo belong?",
        "Who is the owner of Diablo?", "Who owns Diablo?", "Do you know who Diablo belongs to?", "Do you know Diablo's owner?"]),
    ("Juno's cat is called Diablo.", &[
        "What is Juno's cat called?", "What animal does Juno have?", "Does Juno have a cat?", "Does Juno have an animal?", "What is Juno's cat's name?",
        "Which cat belongs to Juno?", "What do people call Juno's cat?", "What is the name of Juno's cat?", "Do you know what Juno's cat is called?"]),
    ("Diablo is black, and one paw is white.", &[
        "What colour is Diablo?", "Which colour is Diablo?", "What does Diablo look like?", "Is Diablo black or white?", "Which paw of Diablo is white?",
        "What colour does Diablo have?", "How does Diablo look?", "What is the colour of Diablo?", "Do you know what colour Diablo is?"]),
    ("Diablo sleeps in a drum.", &[
        "Where does Diablo sleep?", "Where does Diablo rest?", "Who sleeps in a drum?", "Where is Diablo at night?", "Which animal sleeps in a drum?",
        "Where does Juno's cat sleep?", "Where is Diablo's bed?", "Do you know where Diablo sleeps?", "Tell me where Diablo sleeps."]),
    ("Diablo likes to eat pancakes.", &[
        "What does Diablo like to eat?", "What does Diablo eat?", "What is Diablo's food?", "What food does Diablo like?", "What should I give Diablo to eat?",
        "What does Juno's cat eat?", "Which food does Diablo like?", "What is Diablo's favourite food?", "What is the favourite food of Diablo?"]),
    ("Diablo chases his tail.", &[
        "What does Diablo do?", "What does Diablo like to do?", "Who chases his tail?", "Which animal chases his tail?", "What does Juno's cat do?",
        "What does Diablo do after breakfast?", "What does Diablo chase?", "What does Diablo do all day?", "Tell me what Diablo does."]),
];
