"""What `python launcher.py --help` prints; the flags that may stand before a command are those it names."""

HELP = """\
Slipstream: a local chat application that drafts ahead of the model and never changes a word of what it says.

  python launcher.py [flags]                     start it; the page opens in the browser
  python launcher.py [flags] serve               the API for other programs, without a page
  python launcher.py [flags] url                 print the address of the page that runs, with its token
  python launcher.py [flags] ask [PROMPT]        answer one prompt (default: standard input), or --batch FILE
  python launcher.py [flags] bench lossless      compare plain and adaptive tokens, greedy and seeded
  python launcher.py [flags] bench speed         compare the speed of plain, adaptive and transformers' decoding
  python launcher.py bench replay FILE ...       compare drafters on recorded conversations
  python launcher.py [flags] bench widths        time forward passes of different widths
  python launcher.py [flags] bench trained       measure packs of train-drafter on prompts that they do not know
  python launcher.py [flags] train-drafter       train a drafter for one model, on its own answers
  python launcher.py [flags] --check             show environment and device, run a self-test; exit 0 if it passes
  python launcher.py test [pytest arguments]     run the tests; installs what they need
  python launcher.py lint [NAME ...]             run the code checks: ruff-check, ruff-format, mypy, imports
  python launcher.py --version | --help
  python launcher.py COMMAND --help              the flags of serve, ask, bench or train-drafter

The first start sets up .venv beside this file; later starts skip that and need no network. If the Python that runs
this file already has every package, it is used and nothing is installed.

Flags, before the command:
  --repair          build .venv again from nothing, then start
  --with-llama-cpp  install the binding to llama.cpp into .venv, a ready one or compiled here (minutes), then start:
                    GGUF models usually answer several times as fast with it on a processor
  --offline         never use the network: models must be on this machine already
  --home FOLDER     where conversations, settings and logs live (also SLIPSTREAM_HOME)
  --port N          port of page and API (default: 7860 or the next free one)
  --no-browser      do not open the browser
  --restore-backup  put the newest daily copy of the conversations back; what was in its place is kept
  --new-token       make a new token for the page; the one before is void
  --language NAME   the language of the page: en, de, or a file like assets/texts/de.toml (default: en)
  --open-to-all-accounts
                    ask for no token: whoever has an account on this machine can read and change everything
  --api             let other programs use the model, by OpenAI's API under /v1; its key is shown once
  --host ADDRESS    with --api or serve: serve the API, not the page, on this address, too (0.0.0.0: on all)
  --api-origin O    with --api or serve: let pages of this origin (https://app.example.org) use it from a browser
  --new-key         with --api or serve: make a new key; the one before is void
  --engine URL      let the server at this address answer: llama-server, vLLM, SGLang, or another one that speaks
                    OpenAI's API; also behind ask (--confirm-engine: words may go to that machine; the page asks
                    otherwise. --engine-key FILE: keep the key in that file for it; -: type it)
  --model M         smollm2, starter, a folder, a GGUF file, or a Hub id: Qwen/Qwen3-0.6B,
                    Qwen/Qwen3-4B-GGUF:Q4_K_M
                    (default: smollm2, for bench starter; the page loads what it had last)
  --adapter FOLDER  merge the LoRA adapter in that folder (PEFT's format) into the model's weights
  --no-adapter      load smollm2 without the adapter that comes along, as it was published
  --dtype D         auto, float32, bfloat16, float16
  --device D        auto, cpu, cuda, cuda:N, mps
  --threads N       processor threads
  --quant Q         auto (8 bits on a processor, of GGUF files that have no more), none, int8, nf4
  --backend B       auto, torch, llama-cpp (auto: llama.cpp for GGUF files on a processor, where it is installed)
  --drafter-pack P  draft with a trained pack, too: auto (the model's own pack, if any; default), none, or a folder
  --max-context N   longest conversation, in tokens (default: what the model allows and fits into memory)
  --memory-tokens N tokens of your other conversations that drafts may come from (default: 200,000; 0: none)
"""
