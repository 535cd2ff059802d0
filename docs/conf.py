"""Configuration of the documentation: sphinx-build docs docs/_build."""

from importlib.metadata import version as version_of

project = "cnn_zoo"
copyright = "the cnn_zoo authors"
version = release = version_of("cnn_zoo")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nb_execution_mode = "force"  # of notebook.ipynb, which has no outputs
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds
myst_heading_anchors = 3  # links to headings, as a code host makes them
highlight_language = "none"  # of blocks that name no language

html_theme = "furo"
html_title = f"cnn_zoo {version}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]

default_role = "code"  # docstrings write `name` for code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
