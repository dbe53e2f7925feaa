"""What the documentation site does beyond Markdown (mkdocs.yml calls this file).

- Files outside docs/ become pages, and links between all of them are rewritten (PAGES).
- A link to a source file leads to a page with that file, at the line of the name it is about.
- A paragraph that is nothing but a link to a definition, [`Name.method`](../img2img/file.py),
  shows the definition's code below it, taken from the file as it is.
- Formulas in $...$ become MathML, which browsers show without a script.
- Commands and settings are listed as the program itself describes them (reference.py).
"""

import ast
import html
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

import latex2mathml.converter
import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Files outside docs/ that are pages, and where. A link to a folder is one to its README.
PAGES = {
    "weights/README.md": "models.md",
    "examples/earth/README.md": "examples/earth.md",
    "examples/emoji/README.md": "examples/emoji.md",
    "examples/onnxruntime/README.md": "examples/onnxruntime.md",
    "examples/own_method/README.md": "examples/own_method.md",
    "examples/photos/README.md": "examples/photos.md",
    "examples/serving/README.md": "examples/serving.md",
    "examples/spark/README.md": "examples/spark.md",
    "examples/values/README.md": "examples/values.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
ORIGINS = {page: path for path, page in PAGES.items()}
LISTS = {
    "<!-- list of commands -->": reference.commands,
    "<!-- list of settings -->": reference.settings,
}
LANGUAGES = {
    ".py": "python",
    ".sh": "sh",
    ".mjs": "js",
    ".toml": "toml",
    ".yaml": "yaml",
    ".md": "text",
    "": "text",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
ALONE = re.compile(r"^\[`([\w.]+)`\]\(([^)\s#]+\.py)\)$", re.MULTILINE)
SHORT = re.compile(r"<code>([^<]{1,30})</code>")
LINE = re.compile(r'<a ([^>]*?) ?data-line="(\d+)"([^>]*)>')  # mkdocs does not see lines as targets
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">(?:\\\((.*?)\\\)|\\\[(.*?)\\\])</\1>', re.DOTALL
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of docs/."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    for path in sorted(_sources(files)):
        page = File.generated(config, f"source/{path}.md", content=_source_page(path))
        files.append(page)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links, and add the code and the lists that the page asks for."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown
    origin = _origin(here)
    markdown = ALONE.sub(lambda match: _with_code(match, origin), markdown)

    def rewritten(text: str) -> str:
        return LINK.sub(lambda match: _link(match, origin, here), text)

    markdown = _outside_fences(markdown, rewritten)
    for marker, listed in LISTS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, listed())
    return markdown


def on_page_content(content: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace formulas with MathML, lead links to lines of source files, and mark short pieces of
    code, which are not to be broken (site.css): --l1 would be, behind its hyphens.
    """

    def to_line(match: re.Match[str]) -> str:
        before, line, after = match.groups()
        return f"<a {before}{after}>".replace('.html"', f'.html#__codelineno-0-{line}"')

    def mathml(match: re.Match[str]) -> str:
        latex = html.unescape(match[2] or match[3])
        display = "inline" if match[2] else "block"
        return str(latex2mathml.converter.convert(latex, display=display))

    content = SHORT.sub(r'<code class="short">\1</code>', content)
    return LINE.sub(to_line, FORMULA.sub(mathml, content))


def _origin(page: str) -> str:
    """The path in the repository of a page's file."""
    return ORIGINS.get(page, f"docs/{page}")


def _target(link: str, origin: str) -> str | None:
    """The path in the repository that a link leads to; None for one to elsewhere, or to nothing."""
    if re.match(r"[a-z]+:|#", link):
        return None
    path = os.path.normpath(PurePosixPath(origin).parent / link.partition("#")[0])
    return path if (ROOT / path).exists() else None


def _page_of(path: str) -> str | None:
    """The page that shows a path of the repository; None for folders, pictures and the like."""
    path = path if (ROOT / path).is_file() else f"{path}/README.md"
    if path == "README.md":
        return "index.md"
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/") and not path.endswith(".py"):
        return path.removeprefix("docs/")
    is_text = (ROOT / path).is_file() and PurePosixPath(path).suffix in LANGUAGES
    return f"source/{path}.md" if is_text else None


def _link(match: re.Match[str], origin: str, here: str) -> str:
    picture, text, link = match.groups()
    path = _target(link, origin)
    if path is None:
        return match[0]
    page = _page_of(path)
    if page is None:
        return match[0] if picture else text
    anchor = link[link.find("#") :] if "#" in link else ""
    relative = PurePosixPath(os.path.relpath(page, PurePosixPath(here).parent))
    rewritten = f"{picture}[{text}]({relative}{anchor})"
    if page.startswith("source/") and (node := _definition(path, text.strip("`"))):
        rewritten += f'{{data-line="{node.lineno}"}}'
    return rewritten


def _outside_fences(markdown: str, change: Any) -> str:
    """The text with a change made to all that is not in a fenced block."""
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


def _with_code(match: re.Match[str], origin: str) -> str:
    """The link, and below it the code that it is about."""
    name, link = match.groups()
    path = _target(link, origin)
    node = _definition(path, name) if path else None
    if path is None or node is None:
        raise ValueError(f"{origin}: {link} defines no {name}.")
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    lines = (ROOT / path).read_text().splitlines()[first - 1 : node.end_lineno]
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    code = "\n".join(line[indent:] for line in lines)
    return f"{match[0]} in `{path}`:\n\n```python\n{code}\n```"


def _definition(path: str, name: str) -> ast.stmt | None:
    """The statement that defines a name of a module, or, with a dot, of a class in it."""
    if not path.endswith(".py"):
        return None
    body = ast.parse((ROOT / path).read_text()).body
    node: ast.stmt | None = None
    for part in name.split("."):
        node = next((each for each in body if part in _defines(each)), None)
        if node is None:
            return None
        body = getattr(node, "body", [])
    return node


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _sources(files: Files) -> set[str]:
    """The source files that pages link to."""
    paths = set()
    for file in files.documentation_pages():
        origin = _origin(file.src_uri)
        for match in LINK.finditer(FENCE.sub("", file.content_string)):
            path = _target(match[3], origin)
            page = _page_of(path) if path else None
            if page and page.startswith("source/"):
                paths.add(page.removeprefix("source/").removesuffix(".md"))
    return paths


def _source_page(path: str) -> str:
    """A page with the file, which the search leaves out."""
    language = LANGUAGES[PurePosixPath(path).suffix]
    head = f"---\nsearch:\n  exclude: true\nhide: [navigation, toc]\n---\n\n# {path}\n\n"
    code = (ROOT / path).read_text()
    return f'{head}~~~~{{.{language} linenums="1"}}\n{code}\n~~~~\n'
