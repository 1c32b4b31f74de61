"""save and load: every bit kept, old files read, and whatever else lies there is one error."""

import dataclasses
import os
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gemjax as gj

KEY = jax.random.key(0)
FORMAT_1 = Path(__file__).with_name("format_1.npz")
GOOD = gj.make_mixture(
    [[0.1, 0.2], [3.0, 4.0], [-5.0, 1.0]],
    weights=[0.2, 0.0, 0.8],
    covariance=gj.covariance.Spherical([0.5, 1.0, 3.0], 1e-3),
)
SQUARE = np.array([[2.0, 0.3], [0.3, 1.0]])
FAMILIES = [
    gj.covariance.Identity(),
    gj.covariance.SharedSpherical(1 / 3, 0.1),
    gj.covariance.Spherical(np.array([1 / 3, 2.0])),
    gj.covariance.SharedDiagonal(np.array([1 / 3, 2.0])),
    gj.covariance.Diagonal(np.array([[1 / 3, 2.0], [1.0, 1e-9]])),
    gj.covariance.Tied(SQUARE / 3),
    gj.covariance.Full(np.array([SQUARE, 3 * SQUARE])),
]


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert isinstance(y, jax.Array)
        assert x.dtype == y.dtype
        assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    return True


def back(path, thing, **settings):
    gj.save(path, thing, **settings)
    return gj.load(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_a_mixture_keeps_every_bit(tmp_path, family, dtype):
    mixture = gj.make_mixture(
        np.array([[1 / 3, -1e30], [1e-30, 0.1]], dtype), weights=[0.0, 1.0], covariance=family
    )
    exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), mixture)
    assert same(exact, back(tmp_path / "m.npz", mixture))


def test_a_fit_goes_on(tmp_path):
    target, start = gj.empirical([[0.0], [1.0], [5.0]]), gj.make_mixture([[0.0], [2.0]])
    solver = gj.GradientEM()
    once = gj.fit(solver, target, start, num_iterations=4)
    loaded = back(tmp_path / "fit.npz", once)
    assert same(once, loaded)
    run = lambda fit: gj.fit(solver, target, fit, num_iterations=4)  # noqa: E731
    assert same(run(once), run(loaded))
    overrelaxed = gj.GradientEM(mean_rule="overrelaxed").init(start)
    carrying = dataclasses.replace(once, state=overrelaxed)
    with pytest.raises(TypeError, match=r"state\.mean_state must be empty .* save the fit's"):
        gj.save(tmp_path / "fit.npz", carrying)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), once)
    with pytest.raises(ValueError, match=r"mixture must have means \(n, d\), got \(2, 2, 1\)"):
        gj.save(tmp_path / "fit.npz", batch)


def test_files_of_format_1_are_read(tmp_path):
    found = gj.load(FORMAT_1)
    assert same(found, back(tmp_path / "again", found, names=["length [cm]", "Höhe"]))
    assert found.family_name == "EII"
    assert found.families == ("EII", "VVV")
    assert found.predict([[0.0, 0.0], [3.0, 3.0], [-4.0, 1.0], [1.0, -5.0]]).tolist() == [
        2,
        0,
        1,
        2,
    ]
    assert found.mixture.means[0].tolist() == [3.535995665122512, 0.3212344929944499]
    assert float(found.mixture.covariance.variance) == pytest.approx(0.70948624, abs=1e-8)
    assert found.merges.kept.tolist()[:4] == [2, 2, 1, 0]
    assert found.certificate.num_starts == 32
    assert found.certificate.birth_covariance.variance == found.mixture.covariance.variance
    assert np.load(FORMAT_1)["names"].tolist() == ["length [cm]", "Höhe"]


def test_float64_where_jax_has_float32(tmp_path):
    gj.save(tmp_path / "m", GOOD)
    huge = gj.make_mixture([[1e300]])
    gj.save(tmp_path / "huge", huge)
    with jax.enable_x64(False):
        loaded = gj.load(tmp_path / "m")
        assert loaded.means.dtype == loaded.covariance.floor.dtype == np.float32
        np.testing.assert_allclose(loaded.means, np.asarray(GOOD.means), rtol=1e-7)
        message = (
            r"huge: cannot be read .* finite, got inf .*; its float64 .* jax_enable_x64 keeps it"
        )
        with pytest.raises(ValueError, match=message):
            gj.load(tmp_path / "huge")
    assert same(huge, gj.load(tmp_path / "huge"))


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "real" / "model.v1"
    path.parent.mkdir()
    link = tmp_path / "link"
    link.symlink_to(path)
    gj.save(os.fspath(link), GOOD)
    assert link.is_symlink()
    before = path.read_bytes()

    def fails(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", fails)
        with pytest.raises(OSError, match=r"No space left on device: '.*model\.v1'"):
            gj.save(path, gj.make_mixture([[0.0]]))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["model.v1"]
    gj.save(path, GOOD)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="nowhere"):
        gj.save(tmp_path / "nowhere" / "m", GOOD)
    with pytest.raises(FileNotFoundError, match="nothing"):
        gj.load(tmp_path / "nothing")


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "m"

    @dataclasses.dataclass(frozen=True, eq=False)
    class Full(gj.covariance.Full):  # of the same name
        pass

    own = dataclasses.replace(GOOD, covariance=Full(np.array([SQUARE] * 3)))
    bad = dataclasses.replace(GOOD, means=GOOD.means.at[0, 0].set(jnp.nan))
    for thing, error, message in (
        ({"means": 1}, TypeError, "thing must be a Mixture, a Selection or a Fit, got dict"),
        (own, TypeError, r"covariance must be one of .* to be saved, got Full"),
        (bad, ValueError, r"mixture\.means must be finite, got nan at index \(0, 0\)"),
    ):
        with pytest.raises(error, match=message):
            gj.save(path, thing)
    for names in ("ab", ["a"], ["a", 1]):
        with pytest.raises(ValueError, match="names must be 2 texts, one per column"):
            gj.save(path, GOOD, names=names)
    with pytest.raises(ValueError, match="save outside of jit"):
        jax.jit(lambda mixture: gj.save(path, mixture))(GOOD)
    assert not path.exists()


def changed(path, **changes):
    """The frozen file with some of its arrays in other forms; None leaves one out."""
    held = dict(np.load(FORMAT_1)) | {name.replace("__", "."): a for name, a in changes.items()}
    with open(path, "wb") as file:
        np.savez(file, **{name: array for name, array in held.items() if array is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gemjax_format": 2}, "it has format 2, and this gemjax reads up to 1; install a newer"),
        ({"gemjax_format": None}, "it has no format number, so something else wrote it"),
        ({"gemjax_format": "one"}, "it has no format number"),
        ({"gemjax_format": 0}, "it has no format number"),
        ({"record": "Recovery"}, "record must be one of Mixture, Selection, Fit, got 'Recovery'"),
        ({"mixture__means": None}, r"it has no mixture\.means"),
        ({"cluster": None}, "it has no cluster"),
        ({"mixture__means": np.zeros((2, 2))}, r"log_weights \(n,\), got \(2, 2\) and \(3,\)"),
        ({"mixture__means": np.full((3, 2), np.nan)}, r"means must be finite"),
        ({"mixture__means": np.array([["a", "b"]] * 3)}, "means|dtype|str"),
        ({"mixture__covariance": "Constrained"}, "must be one of .*got 'Constrained'"),
        ({"mixture__covariance__variance": -1.0}, r"covariance\.variance must be positive"),
        ({"mixture__covariance": "Full"}, r"no mixture\.covariance\.covariances"),
        ({"certificate__birth_covariance__variance": np.ones(2)}, "birth_covariance.variance must"),
        ({"cluster": np.zeros(2, np.int32)}, r"cluster must have shape \(n = 3\), got \(2,\)"),
        ({"cluster": np.array([0, 1, 3])}, "cluster must be from -1 to 2"),
        ({"cluster": np.zeros(3)}, "cluster must be integer, got float64"),
        ({"family": 2}, "family must be from 0 to 1"),
        ({"loss": np.zeros(3)}, r"loss must have shape \(\), got \(3,\)"),
        ({"names": np.array(["one"])}, "names must be 2 texts"),
        ({"names": np.array([{}], object)}, "[Oo]bject arrays|pickle"),
        ({"unknown": np.zeros(9)}, None),  # not known here: passed over
        ({"mixture__covariance__floor": None}, None),  # has a default
    ],
    ids=str,
)
def test_changed_files(tmp_path, changes, message):
    path = tmp_path / "m.npz"
    changed(path, **changes)
    if message is None:
        found = gj.load(path)
        assert np.array_equal(found.mixture.means, gj.load(FORMAT_1).mixture.means)
        return
    with pytest.raises(
        ValueError, match=rf"m\.npz: cannot be read as a file of gj\.save.*({message})"
    ) as e:
        gj.load(path)
    assert "\n" not in str(e.value)


def test_other_files(tmp_path):
    path = tmp_path / "m.npz"

    class Loud:
        def __reduce__(self):
            return (print, ("a pickle was read",))

    bomb = tmp_path / "bomb"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("means.npy", bytes(2**27))
    np.save(tmp_path / "one.npy", np.zeros(3))
    whole = FORMAT_1.read_bytes()
    contents = [b"", b"PK\x03\x04junk", b"x,y\n1,2\n", pickle.dumps(Loud()), whole[:1500]]
    contents += [whole[: len(whole) // 2], whole[:-5], bomb.read_bytes()]
    contents += [(tmp_path / "one.npy").read_bytes()]
    for header in ("'<f8', 'shape': (1099511627776,)", "'<U500000000', 'shape': (3, 7)"):
        text = f"{{'descr': {header}, 'fortran_order': False}}\n".encode()
        with zipfile.ZipFile(bomb, "w") as archive:  # claims more than there is
            start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
            archive.writestr("means.npy", start + text + bytes(64))
        contents += [bomb.read_bytes()]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"m\.npz: cannot be read as a file of gj\.save"
        ) as error:
            gj.load(path)
        assert "\n" not in str(error.value)
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="path must be an ordinary file"):
            gj.load(place)


def test_damaged_bytes_are_noticed(tmp_path):
    whole, rng = FORMAT_1.read_bytes(), np.random.default_rng(0)
    intact, path, said = gj.load(FORMAT_1), tmp_path / "m.npz", list[str]()
    for place in rng.integers(len(whole), size=120):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            loaded = gj.load(path)
        except ValueError as error:
            said.append(str(error))
        else:  # a byte that says nothing, as a date's
            assert same(intact, loaded)
    assert len(said) > 60
    assert all(
        message.startswith(f"{path}: cannot be read as a file of gj.save") for message in said
    )
