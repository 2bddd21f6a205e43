"""Commands that are started several times at once, as `mpirun` and `srun` do."""

import os
import signal
import subprocess
import sys

import pytest

from rayrml.cluster.mpi_ranks import LOST, find_ranks

OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "4"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "4"}


def found(variables, *arguments):
    ranks = find_ranks(variables, arguments)
    return ranks and (ranks.launcher, ranks.rank, ranks.count)


@pytest.mark.parametrize(
    ("variables", "launcher"),
    [
        (OPEN_MPI, "mpirun"),
        ({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "4"}, "mpirun"),
        (MPICH, "mpirun"),
        ({"PMIX_RANK": "1", "PMIX_SIZE": "4"}, "mpirun"),
        (STEP, "srun"),
        ({**STEP, "SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "4"}, "srun"),
        ({**STEP, **MPICH}, "srun"),  # Slurm's own PMI
        ({**STEP, "PMIX_RANK": "1"}, "srun"),
    ],
)
def test_each_launcher_tells_the_rank_in_its_own_variables(variables, launcher):
    assert found(variables) == (launcher, 1, 4)


def test_ranks_of_mpirun_within_a_step_are_those_of_mpirun():
    """A shell of `srun --pty` is a step of one task; Hydra starts one process of its own on each node in a step."""
    assert found({**OPEN_MPI, "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}) == ("mpirun", 1, 4)
    assert found({**MPICH, "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) == ("mpirun", 1, 4)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"},  # a shell of `salloc` on the login node
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # a job's script
        {**STEP, "SLURM_STEP_ID": str(0xFFFFFFFA)},  # a shell of `salloc` on a node
        {**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1", "PMI_RANK": "0", "PMI_SIZE": "1"},
        {**STEP, "RAY_ADDRESS": "10.0.0.1:6379"},  # a script that starts Ray on each node, and a run on one
        {**OPEN_MPI, "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"},  # a job of a Ray that was started by `mpirun`
        {"OMPI_COMM_WORLD_RANK": "1"},
        {"PMI_RANK": "x", "PMI_SIZE": "4"},
    ],
)
def test_other_variables_do_not_make_a_process_a_rank(variables):
    assert find_ranks(variables, ["config.json"]) is None


def test_a_step_with_the_address_of_a_cluster_runs_as_it_is():
    """`ray symmetric-run` starts the command on one node, with the variables of its own step."""
    assert find_ranks(STEP, ["run", "config.json", "--address", "10.0.0.1:6379"]) is None
    assert find_ranks(STEP, ["run", "config.json", "--address=10.0.0.1:6379"]) is None


# A program whose first process does what it is told where the command would do a run.
PROGRAM = """
import os, sys, time
from rayrml.cluster import mpi_ranks
ranks = mpi_ranks.find_ranks(os.environ, [])
if ranks.rank:
    sys.exit(mpi_ranks.follow(ranks))
leader = mpi_ranks.Leader(ranks, os.environ)
print("leads", mpi_ranks.find_ranks(os.environ, []), flush=True)
{}
"""


def start(program, count, local=None):
    """Processes of one program, as `mpirun` would start them here; those with the ranks `local`, or all."""
    processes = []
    for rank in local or range(count):
        variables = {"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": str(count)}
        variables |= {"OMPI_COMM_WORLD_LOCAL_SIZE": str(len(local or range(count)))}
        variables["OMPI_COMM_WORLD_LOCAL_RANK"] = str(rank - (local or [0])[0])
        environment = {**os.environ, **variables}
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(program, env=environment, stdout=pipe, stderr=pipe, text=True))
    return processes


def lead(does):
    return [sys.executable, "-c", PROGRAM.format(does)]


def ends(processes):
    """Exit code and output of each process."""
    outputs = [process.communicate(timeout=60) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


MEET = """
while not leader._waiting: time.sleep(0.05)
print("met", flush=True)
time.sleep(60)
"""


def start_and_meet():
    first, other = start(lead(MEET), 2)
    assert first.stdout.readline() == "leads None\n"
    assert first.stdout.readline() == "met\n"
    return first, other


@pytest.mark.parametrize("code", [0, 3, 130])
def test_the_others_end_with_the_code_of_the_first_and_print_nothing(code):
    first, *others = ends(start(lead(f"time.sleep(0.3); leader.end({code}); sys.exit({code})"), 3))
    assert first == (code, "leads None\n", "")  # what it starts itself is no rank
    assert others == [(code, "", "")] * 2


def test_a_first_process_that_ends_at_once_is_not_missed():
    assert [code for code, *_ in ends(start(lead("leader.end(5); sys.exit(5)"), 3))] == [5, 5, 5]


def test_processes_behind_a_shell_meet():
    program = ["sh", "-c", '"$@"; exit $?', "sh", *lead("time.sleep(0.3); leader.end(4); sys.exit(4)")]
    assert [code for code, *_ in ends(start(program, 2))] == [4, 4]


def test_a_signal_does_not_end_the_wait_but_the_end_of_the_first_process_does():
    first, other = start_and_meet()
    other.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(1.0)
    first.kill()
    ends([first])
    assert ends([other]) == [(130, "", "")]


def test_the_others_end_when_the_first_process_is_killed():
    first, other = start_and_meet()
    first.kill()
    ends([first])
    assert ends([other]) == [(LOST, "", "")]


def test_processes_on_another_machine_end_and_say_so_once():
    short = PROGRAM.replace("ranks = ", "mpi_ranks._SECONDS_TO_MEET = 0.2\nranks = ", 1)
    program = [sys.executable, "-c", short.format("sys.exit()")]
    (code, out, _), silent = ends(start(program, 3, local=[1, 2]))
    assert (code, silent) == (0, (0, "", ""))
    assert out.startswith("This is process 2 of 3 that mpirun has started, and it has nothing to do")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["check", "nowhere.json"], 3, "rayrml: nowhere.json: cannot read 'nowhere.json'. No such file or directory"),
        (["check", "c.json", "--rounds"], 2, "unrecognized arguments: --rounds. "),
        (["--version"], 0, "rayrml 0."),
    ],
)
def test_a_command_answers_once_and_all_its_processes_end_alike(arguments, code, line):
    (first, out, err), other = ends(start([sys.executable, "-m", "rayrml", *arguments], 2))
    assert (first, other) == (code, (code, "", ""))
    assert line in out + err
