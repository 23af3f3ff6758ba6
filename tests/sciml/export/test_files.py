"""What `export` writes, and when it writes nothing."""

import importlib.util
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sympy import pi, sin

import sciml as sm
from sciml import D
from sciml.export import ExportError, export


def spring():
    x = sm.unknown("x", unit="m", bounds=(0, None), description='position, "free" end')
    k = sm.parameter("k", 2.0, unit="1/s^2", bounds=(0, 10), description="stiffness \\ mass")
    c = sm.parameter("c", description="damping")
    energy = sm.unknown("energy", unit="J")
    equation = sm.Eq(D(x, 2), -k * x - c * D(x))
    observed = {energy: k * x**2 / 2}
    return sm.System(
        equation, initial={x: 1, D(x): 0}, values={c: 0.5}, observed=observed, name="spring"
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return export(spring(), tmp_path_factory.mktemp("files") / "spring")


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_metadata_name_everything(paths):
    about = json.loads(zipfile.ZipFile(paths[1]).read("metadata.json"))
    position, rate = about["states"]
    assert (position["name"], rate["name"]) == ("x", "D(x)")
    assert position["bounds"] == [0.0, None]
    assert (position["unit"], position["initial"]) == ("m", 1.0)
    c, k = about["parameters"]
    assert (k["default"], k["unit"], k["bounds"]) == (2.0, "1/s^2", [0.0, 10.0])
    assert (c["default"], c["description"], c["required"]) == (0.5, "damping", False)
    assert about["observed"] == [
        {
            "name": "energy", "shape": [], "coordinates": [], "unit": "J", "description": "",
            "expression": "k*x**2/2",
        }
    ]  # fmt: skip
    assert about["dtype"] == "float64"
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert set(about["functions"]) == {"vector_field", "solve", "observed", "initial_state"}


def test_the_docstring_shows_the_model(paths):
    text = loaded(paths[0]).__doc__
    assert "D(x, 2) = -c*D(x) - k*x" in text
    assert "energy := k*x**2/2" in text
    assert "damping" in text


def test_the_readme_loads_the_archive(paths, monkeypatch):
    monkeypatch.chdir(paths[1].parent)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    readme = zipfile.ZipFile(paths[1]).read("README.txt").decode()
    code = "\n".join(
        line[4:] for line in readme.split("Every")[0].splitlines() if line[:4] == "    "
    )
    found = {}
    exec(code, found)
    np.testing.assert_allclose(found["solution"]["ys"][0], [1, 0])


def test_the_python_file_resolves_defaults_and_refuses_what_it_does_not_know(paths):
    module = loaded(paths[0])
    solution = module.solve(0.0, 1.0, parameters={"c": 0.0})
    assert solution["success"]
    position = module.unpack(solution["ys"])["x"]
    np.testing.assert_allclose(position, np.cos(np.sqrt(2) * np.linspace(0, 1, 101)), rtol=1e-5)
    with pytest.raises(ValueError, match="no parameter q: the model has c, k"):
        module.vector_field(0.0, [1.0, 0.0], {"q": 1.0})
    with pytest.raises(ValueError, match="a vector of 2 numbers"):
        module.vector_field(0.0, [1.0])
    with pytest.raises(ValueError, match="k has the shape"):
        module.vector_field(0.0, [1.0, 0.0], {"k": [1.0, 2.0]})


def test_a_solve_can_be_mapped_over_parameters_and_differentiated_both_ways(paths):
    module = loaded(paths[0])

    def end(c, derivatives="reverse"):
        given = {"parameters": {"c": c}, "derivatives": derivatives, "rtol": 1e-10, "atol": 1e-10}
        return module.solve(0.0, 1.0, ts=[1.0], **given)["ys"][0, 0]

    cs = jnp.asarray([0.0, 0.5])
    back = jax.jit(jax.vmap(jax.value_and_grad(end)))(cs)
    ahead = jax.jit(jax.vmap(lambda c: jax.jvp(lambda c: end(c, "forward"), (c,), (1.0,))))(cs)
    np.testing.assert_allclose(back, ahead, rtol=1e-8)
    exact = np.exp(-0.25) * (np.cos(w := np.sqrt(2 - 0.0625)) + 0.25 / w * np.sin(w))
    assert back[0][1] == pytest.approx(exact, rel=1e-8)


def rod():
    """Heat between two ends, of which one is held and one radiates."""
    s = sm.coordinate("s")
    u = sm.unknown("u", sm.t, s, unit="K")
    heat = sm.Eq(D(u, sm.t), D(u, s, s))
    ends = [sm.Eq(u.at(s=0), 0), sm.Eq(sm.at(D(u, s), s=1), 0)]
    return sm.System(heat, domain={s: (0, 1)}, boundary=ends, initial={u: sin(pi * s / 2)}), u, s


def test_a_field_is_observed_on_all_nodes_and_what_is_made_of_it(tmp_path):
    system, u, s = rod()
    model = sm.compile(system, grid={s: 17})
    wanted = {"flux": -D(u, s), "mean": sm.integral(u, s), "middle": u.at(s=0.5)}
    written, archive = export(model, tmp_path / "rod", method="rodas4", observed=wanted)
    module = loaded(written)
    nodes = np.asarray(module.GRID["s"])
    np.testing.assert_allclose(nodes, np.linspace(0, 1, 17), atol=1e-15)
    solution = module.solve(0.0, 0.5, ts=jnp.linspace(0, 0.5, 3), rtol=1e-8, atol=1e-10)
    assert solution["ys"].shape == (3, 15)
    found = jax.vmap(module.observed)(jnp.linspace(0, 0.5, 3), solution["ys"])
    fall = np.exp(-((np.pi / 2) ** 2) * np.linspace(0, 0.5, 3))[:, None]
    np.testing.assert_allclose(found["u"], fall * np.sin(np.pi * nodes / 2), atol=1e-5)
    flux = -np.pi / 2 * fall * np.cos(np.pi * nodes / 2)
    np.testing.assert_allclose(found["flux"], flux, atol=1e-3)
    np.testing.assert_allclose(found["mean"], fall[:, 0] * 2 / np.pi, atol=1e-5)
    np.testing.assert_allclose(found["middle"], fall[:, 0] * np.sqrt(0.5), atol=1e-5)
    about = json.loads(zipfile.ZipFile(archive).read("metadata.json"))
    assert about["grid"] == {"s": nodes.tolist()}
    assert about["conditions"] == ["u.at(s=0) = 0", "D(u, s).at(s=1) = 0"]
    field, *_ = about["observed"]
    assert (field["name"], field["shape"], field["unit"]) == ("u", [17], "K")
    assert (field["coordinates"], field["expression"]) == (["s"], "u at all nodes of s")
    assert "observed" in about["functions"]


def test_the_name_of_a_quantity_is_given_once(tmp_path):
    system, u, s = rod()
    with pytest.raises(ExportError, match="has a quantity u already"):
        export(sm.compile(system, grid={s: 9}), tmp_path / "rod", observed={"u": 2 * u})
    assert not list(tmp_path.iterdir())


def test_further_quantities_of_a_system_without_fields(tmp_path):
    x = sm.unknown("x")
    decay = sm.System(sm.Eq(D(x), -x), initial={x: 2})
    (path,) = export(decay, tmp_path / "decay", kind="python", observed={"square": x**2})
    assert float(loaded(path).observed(0.0, [3.0])["square"]) == 9.0


def test_exporting_twice_gives_the_same_bytes(paths, tmp_path):
    for old, new in zip(paths, export(spring(), tmp_path / "spring.py"), strict=True):
        assert old.name == new.name
        assert old.read_bytes() == new.read_bytes()


def test_the_archive_holds_no_path_of_this_machine(paths):
    archive = zipfile.ZipFile(paths[1])
    for name in archive.namelist():
        assert b"site-packages" not in archive.read(name)
        assert str(paths[1].parent).encode() not in archive.read(name)


def test_missing_values_are_marked_as_required(tmp_path):
    model = sm.compile(spring())
    model = model.replace(values={"c": jnp.nan}, initial={"x": jnp.nan})
    python, archive = export(model, tmp_path / "spring", platforms=["cpu"])
    about = json.loads(zipfile.ZipFile(archive).read("metadata.json"))
    assert {p["name"]: p["required"] for p in about["parameters"]} == {"k": False, "c": True}
    assert [s["required"] for s in about["states"]] == [True, False]
    module = loaded(python)
    with pytest.raises(ValueError, match="no value of c: give it in parameters"):
        module.vector_field(0.0, [1.0, 0.0])
    with pytest.raises(ValueError, match="no initial value of x: give y0"):
        module.solve(0.0, 1.0, parameters={"c": 1.0})


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("absent/spring", {}, "there is no folder"),
        (".", {}, "is a folder"),
        ("taken", {}, "taken.py is a folder"),
        ("spring", {"kind": "onnx"}, "kind is one of"),
        ("spring", {"method": "euler"}, "method is one of"),
        ("spring", {"max_steps": 0}, "max_steps"),
        ("spring", {"platforms": "cpu"}, "platforms are"),
        ("spring", {"platforms": ["abacus"]}, "platforms are"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(path, settings, message, tmp_path):
    (tmp_path / "taken.py").mkdir()
    with pytest.raises(ExportError, match=message):
        export(spring(), tmp_path / path, **settings)
    assert [p.name for p in tmp_path.iterdir()] == ["taken.py"]


def test_an_older_file_stays_where_a_new_one_cannot_be_made(paths, tmp_path, monkeypatch):
    export(spring(), tmp_path / "spring", kind="python")
    before = (tmp_path / "spring.py").read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ExportError, match="No space left"):
        export(spring().replace(values={"k": 3.0}), tmp_path / "spring", kind="python")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["spring.py"]
    assert (tmp_path / "spring.py").read_bytes() == before
