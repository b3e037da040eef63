"""Small pieces of code as people have them: Python, JavaScript and SQL, whose names may be exchanged.

`$name` marks a name that a task may rename; every other word stays. Knows nothing of tasks.
"""

from __future__ import annotations

import random
import re

from generator.pools import Pools
from generator.python_code import Function

PIECES = (
    "total = 0\nfor item in items:\n    total += item\nprint(total)",
    "def $mean($values):\n    $total = sum($values)\n    return $total / len($values)",
    "for $i in range($n):\n    if $i % 3 == 0:\n        print($i)",
    "with open($path) as $file:\n    $lines = $file.readlines()\nprint(len($lines))",
    'def $greet($name, $greeting="Hello"):\n    $message = f"{{$greeting}}, {{$name}}!"\n    print($message)\n'
    "    return $message",
    "def $is_even($n):\n    return $n % 2 == 0",
    "$count = 0\nwhile $count < $limit:\n    $count += 1\n    print($count)",
    "def $find_max($numbers):\n    $best = $numbers[0]\n    for $x in $numbers:\n        if $x > $best:\n"
    "            $best = $x\n    return $best",
    "class $Counter:\n    def __init__(self, $start=0):\n        self.$value = $start\n\n    def $add(self, $step):\n"
    "        self.$value += $step\n        return self.$value",
    "$result = []\nfor $word in $text.split():\n    if len($word) > 3:\n        $result.append($word.lower())",
    "def $factorial($n):\n    if $n <= 1:\n        return 1\n    return $n * $factorial($n - 1)",
    'import json\n\ndef $load_config($path):\n    with open($path, encoding="utf-8") as $handle:\n'
    "        $config = json.load($handle)\n    return $config",
    "$squares = [$x ** 2 for $x in $values if $x > 0]",
    "def $celsius_to_fahrenheit($temp):\n    return $temp * 9 / 5 + 32",
    "try:\n    $number = int($raw)\nexcept ValueError:\n    $number = 0",
    "def $count_words($text):\n    $counts = {{}}\n    for $word in $text.split():\n"
    "        $counts[$word] = $counts.get($word, 0) + 1\n    return $counts",
    '$prices = {{"tea": 3, "bread": 2}}\n$total = 0\nfor $name, $price in $prices.items():\n    $total += $price',
    'import random\n\n$secret = random.randint(1, 10)\n$guess = int(input("Guess: "))\nif $guess == $secret:\n'
    '    print("Yes!")\nelse:\n    print("No, it was", $secret)',
    "def $apply_discount($price, $rate):\n    $discount = $price * $rate\n    return $price - $discount",
    "function $add($a, $b) {{\n  return $a + $b;\n}}",
    "const $total = $items.reduce(($sum, $item) => $sum + $item.price, 0);\nconsole.log($total);",
    "let $count = 0;\nfor (let $i = 0; $i < $list.length; $i++) {{\n  if ($list[$i] > 10) {{\n    $count++;\n  }}\n}}",
    "function $greet($name) {{\n  const $message = `Hello, ${{$name}}!`;\n  console.log($message);\n  return"
    " $message;\n}}",
    "const $users = await $fetchUsers($url);\nfor (const $user of $users) {{\n  console.log($user.name);\n}}",
    "const $isEmpty = ($text) => $text.trim().length === 0;",
    'document.querySelector("#save").addEventListener("click", ($event) => {{\n  $event.preventDefault();\n'
    "  $saveForm();\n}});",
    "function $clamp($value, $low, $high) {{\n  if ($value < $low) return $low;\n  if ($value > $high) return $high;\n"
    "  return $value;\n}}",
    "SELECT $name, $price FROM $products WHERE $price > 10 ORDER BY $name;",
    "UPDATE $users SET $email = 'a@b.c' WHERE $id = 7;",
    'for $file in *.txt; do\n  echo "${{$file}}"\n  wc -l "${{$file}}"\ndone',
)


def camel(name: str) -> str:
    """Return a name of several words as JavaScript writes it.

    >>> camel("user_name"), camel("total")
    ('userName', 'total')
    """
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def write_piece(pools: Pools) -> Function:
    """Return one of the pieces: half with its own names, the others with some of them exchanged."""
    rng: random.Random = pools.rng
    source = rng.choice(PIECES)
    if "$" not in source:  # every name may be exchanged where none is marked
        source = re.sub(r"\b(total|items|item)\b", r"$\1", source)
    names = list(dict.fromkeys(re.findall(r"\$([A-Za-z_]\w*)", source)))
    shown = list(names)
    if rng.random() < 0.5:
        for place in rng.sample(range(len(names)), rng.randint(1, len(names))):
            fresh = pools.identifier()
            fresh = camel(fresh) if "_" not in "".join(names) and rng.random() < 0.5 else fresh
            words = set(re.findall(r"\w+", source))
            if fresh not in words and fresh not in shown:
                shown[place] = fresh
    template = re.sub(r"\$([A-Za-z_]\w*)", lambda found: f"{{v{names.index(found[1])}}}", source)
    return Function(template, tuple(shown))
