"""Lists the packages, because no discovery option of setuptools adds a prefix to a folder's own packages."""

from setuptools import find_packages, setup

setup(packages=["erlangen", *(f"erlangen.{p}" for p in find_packages("src")), "erlangen.conf", "erlangen.published"])
