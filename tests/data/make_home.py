#!/usr/bin/env python3
"""Writes home/train.jsonl (200 rows) and home/valid.jsonl (50 rows): spoken commands for a house, answered by one
line of JSON that a program can act on. The base model chats instead. No command occurs twice."""
import json
import os
import random

ROOMS = ["kitchen", "bedroom", "living room", "hallway", "garage", "attic", "office", "bathroom", "nursery", "cellar"]
PERCENT = ["lamp", "blinds", "fan", "speaker"]
SWITCHED = ["kettle", "heater", "radio", "humidifier", "coffee machine", "vacuum"]
NAMES = ["Ana", "Bo", "Chen", "Dara", "Emil", "Fatou"]


def level(r):
    device, room, value = r.choice(PERCENT), r.choice(ROOMS), r.randrange(5, 100, 5)
    text = r.choice([
        f"Set the {room} {device} to {value} percent.",
        f"Could you put the {device} in the {room} at {value}%?",
        f"I would like the {room} {device} at {value} percent, please.",
        f"{room.capitalize()} {device} to {value}.",
        f"Make it {value} percent for the {device} in the {room}.",
    ])
    return text, {"do": "set", "device": device, "room": room, "value": value}


def switch(r):
    device, room, state = r.choice(SWITCHED), r.choice(ROOMS), r.choice(["on", "off"])
    text = r.choice([
        f"Turn {state} the {device} in the {room}.",
        f"Please switch the {room} {device} {state}.",
        f"The {device} in the {room} should be {state}.",
        f"{r.choice(NAMES)} wants the {room} {device} {state}.",
        f"Can you turn the {device} {state}? The one in the {room}.",
    ])
    return text, {"do": state, "device": device, "room": room}


def timer(r):
    minutes, room = r.randrange(2, 60), r.choice(ROOMS)
    text = r.choice([
        f"Start a timer for {minutes} minutes in the {room}.",
        f"Remind me in {minutes} minutes, I am in the {room}.",
        f"{minutes} minute timer, {room}.",
        f"Wake {r.choice(NAMES)} in the {room} in {minutes} minutes.",
    ])
    return text, {"do": "timer", "room": room, "minutes": minutes}


def main():
    r, seen, rows = random.Random(7), set(), []
    while len(rows) < 250:
        text, answer = r.choice([level, switch, timer])(r)
        if text not in seen:
            seen.add(text)
            rows.append({"prompt": text, "completion": json.dumps(answer)})
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "home")
    for name, part in [("train", rows[:200]), ("valid", rows[200:])]:
        with open(os.path.join(here, f"{name}.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in part)


if __name__ == "__main__":
    main()
