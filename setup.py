"""Lists the packages, because no discovery option of setuptools adds a prefix to a folder's own packages."""

from setuptools import find_namespace_packages, find_packages, setup

configs = [f"erlangen.conf.{folder}" for folder in find_namespace_packages("conf")]
setup(
    packages=[
        "erlangen",
        *(f"erlangen.{p}" for p in find_packages("src")),
        "erlangen.conf",
        *configs,
        "erlangen.published",
    ]
)
