"""`python -m motionq`: the job verbs."""

from motionq.cli import main

main()
