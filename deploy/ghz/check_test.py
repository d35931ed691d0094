"""python3 deploy/ghz/check_test.py: tests `check`, and that ghz knows every setting."""

import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent

# ghz passes over a setting that it does not know, and runs something else.
DURATIONS = {"duration", "timeout", "load-step-duration"}
NUMBERS = {"total", "concurrency", "connections", "rps", "load-start", "load-step", "load-end"}
OTHERS = {"name", "host", "insecure", "call", "data", "data-file", "async", "duration-stop",
          "format", "load-schedule"}


def check(report, *options):
    command = [sys.executable, HERE / "check", HERE / "testdata" / report, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


class Check(unittest.TestCase):
    def test_good(self):
        code, said = check("good.json", "--p99", "25")
        self.assertEqual(code, 0, said)

    def test_slow(self):
        code, said = check("good.json", "--p99", "3")
        self.assertEqual(code, 1)
        self.assertIn("p99 is 3.4 ms, not 3 ms at most", said)

    def test_failed(self):
        code, said = check("bad.json", "--p99", "25", "--failed", "0.05")
        self.assertEqual(code, 1)
        self.assertIn("7.50% of calls failed", said)
        self.assertNotIn("p99", said)

    def test_failed_as_many_as_may(self):
        code, said = check("bad.json", "--p99", "25", "--failed", "0.075")
        self.assertEqual(code, 0, said)

    def test_all_failed(self):
        code, said = check("all-failed.json", "--p99", "25", "--failed", "1")
        self.assertEqual(code, 1)
        self.assertIn("no call succeeded", said)

    def test_no_report(self):
        code, said = check("../check", "--p99", "25")
        self.assertEqual(code, 1)
        self.assertIn("no report of ghz", said)


class Settings(unittest.TestCase):
    def test_known_and_of_their_type(self):
        files = sorted(HERE.glob("*.json"))
        self.assertEqual(len(files), 6)
        for file in files:
            with self.subTest(file.name):
                config = json.loads(file.read_text())
                self.assertLessEqual(config.keys(), DURATIONS | NUMBERS | OTHERS)
                for key in config.keys() & DURATIONS:
                    self.assertTrue(re.fullmatch(r"\d+(ms|s)", config[key]), key)
                for key in config.keys() & NUMBERS:
                    self.assertIs(type(config[key]), int, key)
                self.assertTrue(("data" in config) != ("data-file" in config))
                # Else calls under way at the end would count as failed.
                if "duration" in config:
                    self.assertEqual(config["duration-stop"], "wait")


if __name__ == "__main__":
    unittest.main()
