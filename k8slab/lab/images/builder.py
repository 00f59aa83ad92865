"""Builds the images: what is current is left alone, what can be made at once is made at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from difflib import get_close_matches
from typing import Any

import docker

from k8slab.errors import UsageError
from k8slab.lab.images import apt, files, pods, python, root
from k8slab.lab.images.archive import Archive
from k8slab.lab.images.events import Built, Listener, Progress
from k8slab.lab.images.files import Entry, digest
from k8slab.lab.images.recipes import POD_IMAGES_DIRECTORY, PodRecipe, Recipe, catalogue
from k8slab.lab.images.store import Store
from k8slab.lab.images.workshop import CONTENT, IMAGE, ORIGIN, PARENT, PROJECT, Cancelled, Workshop, explained

WORKERS = 3
FORM = 2
"""Raised when packages and steps are laid into an image in another way: stages of the old form are then not current."""

COMPILE = "python3 -m compileall -q -j 0 {folder}"
PTH = "/usr/local/lib/python{version}/dist-packages/k8slab.pth"


def build(
    client: docker.DockerClient,
    names: Sequence[str] | None = None,
    *,
    no_cache: bool = False,
    base: str | None = None,
    on_event: Listener = lambda event: None,
    recipes: Iterable[Recipe | PodRecipe] | None = None,
) -> tuple[Built, ...]:
    """Build the named images (all: None) and those they stand on, in the catalogue's order.

    ``base`` names an image to take as the root instead of pulling or making one. Raises ``BuildFailed`` with the end
    of the failing step's output, ``PreconditionMissing`` when no root can be had, ``UsageError`` for a wrong name.
    """
    known = tuple(catalogue() if recipes is None else recipes)
    wanted = selected(known, names)
    shop = Workshop(client)
    with explained("An image", "asking the engine"):
        shop.sweep()
    builder = Builder(shop, known, wanted, no_cache=no_cache, base=base, listener=on_event)
    try:
        return builder.run()
    finally:
        shop.close()


def selected(known: Sequence[Recipe | PodRecipe], names: Sequence[str] | None) -> list[Recipe | PodRecipe]:
    """The recipes of the named images (with or without ``k8slab/`` and tag) and of all that they stand on."""
    if names is None:
        return list(known)
    by_name = {spelling: recipe for recipe in known for spelling in _spellings(recipe.name)}
    base = next(recipe.name for recipe in known if isinstance(recipe, Recipe) and not recipe.parent)
    chosen: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        recipe = by_name.get(name)
        if recipe is None:
            raise _unknown(name, known)
        if recipe.name not in chosen:
            chosen.add(recipe.name)
            todo += [base] if isinstance(recipe, PodRecipe) else [*filter(None, [recipe.parent]), *recipe.pod_images]
    return [recipe for recipe in known if recipe.name in chosen]


def _unknown(name: str, known: Sequence[Recipe | PodRecipe]) -> UsageError:
    names = [_short(recipe.name) for recipe in known]
    near = get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return UsageError(f"There is no recipe for an image {name!r}.", remedy=f"{hint}Known: {', '.join(names)}.")


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1].split(":")[0]


def _spellings(name: str) -> set[str]:
    return {name, name.split(":")[0], name.rsplit("/", 1)[-1], _short(name), f"{name}:latest"}


class Builder:
    """One build. Its stages (root, libraries, packages, project) are images without a name, found again by content."""

    def __init__(
        self,
        shop: Workshop,
        known: Sequence[Recipe | PodRecipe],
        wanted: Sequence[Recipe | PodRecipe],
        *,
        no_cache: bool,
        base: str | None,
        listener: Listener,
    ) -> None:
        self.shop, self.wanted = shop, wanted
        self.base = next(recipe for recipe in known if isinstance(recipe, Recipe) and not recipe.parent)
        self.given = base
        self.store = Store(shop, no_cache=no_cache)
        lock = threading.Lock()
        self.progress = {recipe.name: Progress(recipe.name, listener, lock) for recipe in wanted}
        self.project = files.project()
        self._index: apt.Packages | None = None
        self._index_lock = threading.Lock()
        self._app: bytes | None = None
        self._app_lock = threading.Lock()
        self._origin = ""
        self._told = False

    def run(self) -> tuple[Built, ...]:
        for recipe in self.wanted:
            self.progress[recipe.name].plan(_steps(recipe))
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="k8slab-build") as pool:
            futures = self._submit(pool)
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
                failure = next((error for error in map(_failure, futures.values()) if error is not None), None)
                if failure is not None:
                    raise failure
            except BaseException:
                # Ctrl-C lands here too: end what runs, so that the pool's threads can be waited for.
                self.shop.cancel()
                for future in futures.values():
                    future.cancel()
                raise
        self.store.sweep(recipe.name for recipe in self.wanted)
        done = (futures[recipe.name].result() for recipe in self.wanted)
        return tuple(each.built if isinstance(each, pods.PodBuilt) else each for each in done)

    def _submit(self, pool: ThreadPoolExecutor) -> dict[str, Future[Any]]:
        """Every task waits only for tasks that were submitted before it, so that the pool cannot come to a stand."""
        futures: dict[str, Future[Any]] = {"": pool.submit(self._guarded, self.base.name, self._root)}
        floor = futures["floor"] = pool.submit(self._guarded, self.base.name, self._floor, futures[""])
        base = futures[self.base.name] = pool.submit(self._guarded, self.base.name, self._base, floor)
        for recipe in self.wanted:
            if isinstance(recipe, PodRecipe):
                futures[recipe.name] = pool.submit(self._guarded, recipe.name, self._pod, recipe, futures[""])
        for recipe in self.wanted:
            if isinstance(recipe, Recipe) and recipe.parent:
                carried = [futures[name] for name in recipe.pod_images]
                futures[recipe.name] = pool.submit(self._guarded, recipe.name, self._role, recipe, floor, base, carried)
        return futures

    def _guarded(self, image: str, task: Callable[..., Any], *arguments: Any) -> Any:
        try:
            with explained(image, "building"):
                return task(*arguments)
        except BaseException as error:
            if self.shop.cancelled.is_set():
                raise Cancelled from error
            # What waits for a failed image fails with the same error; it is told once.
            if not self._told:
                self._told = True
                self.progress[image].end("failed", str(error))
            raise

    # The stages, in the order in which they lie upon each other.

    def _root(self) -> str:
        progress = self.progress[self.base.name]
        parent = root.present(self.shop, self.given, progress.at) if self.given else None
        found = self.store.find_root(self.base.name, root.content(self.base), parent)
        if found:
            self._origin = self.store.label(found, ORIGIN)
            return found
        progress.begin("root")
        made, self._origin = root.make(self.shop, self.base, self.given, progress.at)
        return made

    def _floor(self, root_stage: Future[str]) -> str:
        image, progress = self.base.name, self.progress[self.base.name]
        parent = root_stage.result()
        content = digest("floor", python.requirements(), files.SITE_PACKAGES, COMPILE)
        found = self.store.find(image, content, parent)
        if found:
            return found
        progress.begin("the daemons' libraries")
        with self.shop.create(parent) as bench:
            target = python.ask(bench, image)
            entries = python.fetch(self.shop, target, image=image, on_progress=progress.at)
            pth = Entry(PTH.format(version=target.version), f"{files.APP}\n{files.SITE_PACKAGES}\n".encode())
            bench.put(files.tar([*entries, pth]))
            progress.begin("compiling the daemons' libraries")
            script = f"mkdir -p /etc/service {files.APP}; {COMPILE.format(folder=files.SITE_PACKAGES)}"
            bench.run(script, image=image, step="compiling the libraries")
            bench.stop()
            return bench.commit(self._labels(image, content, parent))

    def _base(self, floor_stage: Future[str]) -> Built:
        progress, parent = self.progress[self.base.name], floor_stage.result()
        content = self._top_content(self.base)
        found = self.store.find(self.base.name, content, parent)
        if not found:
            progress.begin("k8slab itself")
            with self.shop.create(parent) as bench:
                bench.put(files.tar(self.project))
                bench.run(COMPILE.format(folder=files.APP), image=self.base.name, step="compiling k8slab")
                bench.stop()
                found = self._commit_top(bench, self.base, content, parent)
        return self._named(self.base, found, progress)

    def _role(
        self, recipe: Recipe, floor: Future[str], base: Future[Built], carried: Sequence[Future[pods.PodBuilt]]
    ) -> Built:
        progress = self.progress[recipe.name]
        stage = self._packages(recipe, floor.result(), progress)
        if carried:
            stage = self._with_pods(recipe, stage, [future.result().archive for future in carried], progress)
        content, base_image = self._top_content(recipe), base.result().id
        found = self.store.find(recipe.name, content, stage)
        if not found:
            progress.begin("k8slab itself")
            with self.shop.create(stage, start=False) as bench:
                bench.put(files.tar(self._outside_app()))
                bench.put(self._compiled(base_image), at=files.PREFIX)
                found = self._commit_top(bench, recipe, content, stage)
        return self._named(recipe, found, progress)

    def _packages(self, recipe: Recipe, parent: str, progress: Progress) -> str:
        laid = files.parts(recipe.parts)
        if not (recipe.packages or recipe.steps or laid):
            return parent
        content = digest("packages", FORM, recipe.packages, recipe.optional, recipe.steps, files.digest_entries(laid))
        found = self.store.find(recipe.name, content, parent)
        if found:
            return found
        progress.begin(f"installing {' '.join(recipe.packages)}")
        packages = self._packages_index(recipe.name, parent, progress)
        with self.shop.create(parent, mounts=packages.mounts()) as bench:
            if recipe.packages:
                packages.install(bench, recipe.packages, recipe.optional, image=recipe.name, on_progress=progress.at)
            if laid:
                bench.put(files.tar(laid))
            for number, step in enumerate(recipe.steps, 1):
                progress.begin(step.splitlines()[0])
                bench.run(f"exec 2>&1\n{step}", image=recipe.name, step=f"step {number} ({step.splitlines()[0]})")
            bench.stop()
            return bench.commit(self._labels(recipe.name, content, parent))

    def _with_pods(self, recipe: Recipe, parent: str, archives: Sequence[Archive], progress: Progress) -> str:
        index = {archive.name: {"id": archive.id, "file": archive.file} for archive in archives}
        content = digest("pods", index)
        found = self.store.find(recipe.name, content, parent)
        if found:
            return found
        progress.begin("the pods' images")
        entries = [Entry(f"{POD_IMAGES_DIRECTORY}/{archive.file}", archive.data) for archive in archives]
        entries.append(Entry(f"{POD_IMAGES_DIRECTORY}/index.json", f"{json.dumps(index, indent=1)}\n".encode()))
        with self.shop.create(parent, start=False) as bench:
            bench.put(files.tar(entries))
            return bench.commit(self._labels(recipe.name, content, parent))

    def _pod(self, recipe: PodRecipe, root_stage: Future[str]) -> pods.PodBuilt:
        progress, parent = self.progress[recipe.name], root_stage.result()
        content = pods.content(recipe, root.content(self.base))
        found = self.store.find_pod(recipe.name, content)
        if found:
            built = self._named(recipe, found, progress)
            return pods.PodBuilt(built, pods.saved(self.shop, recipe, found))
        progress.begin(f"installing {' '.join(recipe.packages)}")
        packages = self._packages_index(recipe.name, parent, progress)
        archive = pods.make(self.shop, packages, recipe, parent, content, progress)
        made = pods.load(self.shop, archive)
        return pods.PodBuilt(self._named(recipe, made, progress), archive)

    # What several stages use.

    def _packages_index(self, image: str, root_image: str, progress: Progress) -> apt.Packages:
        with self._index_lock:
            if self._index is None:
                index = apt.Packages(self.shop, root.sources(self.shop, root_image, self._origin))
                progress.at(None, "fetching the package index")
                index.update(image, root_image, progress.at)
                self._index = index
            return self._index

    def _compiled(self, base_image: str) -> bytes:
        """The project with its compiled modules, as they were made once, in the base."""
        with self._app_lock:
            if self._app is None:
                with self.shop.create(base_image, start=False) as bench:
                    self._app = bench.get(files.APP)
            return self._app

    def _outside_app(self) -> list[Entry]:
        return [entry for entry in self.project if not entry.path.startswith(files.APP)]

    def _labels(self, image: str, content: str, parent: str) -> dict[str, str]:
        return {CONTENT: content, IMAGE: image, PARENT: parent, ORIGIN: self._origin}

    def _top_content(self, recipe: Recipe) -> str:
        return digest(
            "top",
            files.digest_entries(self.project),
            [recipe.entrypoint, recipe.command, dict(recipe.environment), dict(recipe.labels), recipe.summary],
        )

    def _commit_top(self, bench: Any, recipe: Recipe, content: str, parent: str) -> str:
        labels: Mapping[str, str] = {
            **self._labels(recipe.name, content, parent),
            PROJECT: files.digest_entries(self.project),
            "k8slab.version": files.version(),
            "org.opencontainers.image.title": recipe.name,
            "org.opencontainers.image.description": recipe.summary,
            **recipe.labels,
        }
        return str(
            bench.commit(labels, entrypoint=recipe.entrypoint, command=recipe.command, environment=recipe.environment)
        )

    def _named(self, recipe: Recipe | PodRecipe, image: str, progress: Progress) -> Built:
        """Give the image its name; what bore it before is removed when nothing uses it."""
        fresh = self.store.name(image, recipe.name)
        state = "built" if fresh else "current"
        progress.end(state, "built" if fresh else "is current")  # type: ignore[arg-type]
        return Built(recipe.name, image, self.store.size(image), progress.seconds, state, self._origin)  # type: ignore[arg-type]


def _steps(recipe: Recipe | PodRecipe) -> int:
    if isinstance(recipe, PodRecipe):
        return 2
    if not recipe.parent:
        return 4
    return bool(recipe.packages) + len(recipe.steps) + bool(recipe.pod_images) + 1


def _failure(future: Future[Any]) -> BaseException | None:
    return future.exception() if future.done() and not future.cancelled() else None
