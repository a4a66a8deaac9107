"""Every option of the programs that people come from is ours, or is answered with what it is here.

The lists are their signatures. Those of programs that are installed are read from them, too.
"""

from __future__ import annotations

import importlib
import inspect
import re

import numpy as np
import pytest

import tsne_ooc
from tsne_ooc import TSNE, Placement, _elsewhere
from tsne_ooc._elsewhere import ENCODER, MAP, unknown_option
from tsne_ooc.cli.command import parser
from tsne_ooc.parametric import ParametricTSNE
from tsne_ooc.preprocess import preparation_from_options

OF_MAPS = {
    "sklearn.manifold.TSNE 1.9": """n_components perplexity early_exaggeration learning_rate max_iter
        n_iter_without_progress min_grad_norm metric metric_params init verbose random_state method angle n_jobs
        n_iter square_distances""",
    "openTSNE.TSNE 1.0.4": """n_components perplexity learning_rate early_exaggeration_iter early_exaggeration n_iter
        exaggeration dof theta n_interpolation_points min_num_intervals ints_in_interval initialization metric
        metric_params initial_momentum final_momentum max_grad_norm max_step_norm n_jobs neighbors knn_kwargs
        negative_gradient_method callbacks callbacks_every_iters random_state verbose""",
    "fast_tsne 1.2.1": """theta perplexity map_dims max_iter stop_early_exag_iter K sigma nbody_algo knn_algo
        mom_switch_iter momentum final_momentum learning_rate early_exag_coeff no_momentum_during_exag n_trees search_k
        start_late_exag_iter late_exag_coeff nterms intervals_per_integer min_num_intervals seed initialization
        load_affinities perplexity_list df return_loss nthreads max_step_norm""",
    "Rtsne 0.17": """dims initial_dims perplexity theta check_duplicates pca partial_pca max_iter verbose is_distance
        Y_init pca_center pca_scale normalize stop_lying_iter mom_switch_iter momentum final_momentum eta
        exaggeration_factor num_threads""",
    "cuml.manifold.TSNE 26": """n_components perplexity early_exaggeration late_exaggeration learning_rate max_iter
        n_iter_without_progress min_grad_norm metric metric_params init random_state method angle n_neighbors
        perplexity_max_iter exaggeration_iter pre_momentum post_momentum learning_rate_method square_distances
        precomputed_knn verbose output_type handle""",
    "torchdr.TSNE 0.5": """perplexity n_components lr optimizer optimizer_kwargs scheduler scheduler_kwargs init
        init_scaling min_grad_norm max_iter device backend verbose random_state early_exaggeration_coeff
        early_exaggeration_iter tol_affinity max_iter_affinity metric sparsity check_interval compile distributed
        process_duplicates n_negatives discard_NNs metric_in metric_out keops tol tolog""",
    "umap.UMAP 0.5.12": """n_neighbors n_components metric metric_kwds output_metric output_metric_kwds n_epochs
        learning_rate init min_dist spread low_memory n_jobs set_op_mix_ratio local_connectivity repulsion_strength
        negative_sample_rate transform_queue_size a b random_state angular_rp_forest target_n_neighbors target_metric
        target_metric_kwds target_weight transform_seed transform_mode force_approximation_algorithm verbose tqdm_kwds
        unique densmap dens_lambda dens_frac dens_var_shift output_dens disconnection_distance precomputed_knn""",
    "pacmap.PaCMAP 0.9": """n_components n_neighbors MN_ratio FP_ratio pair_neighbors pair_MN pair_FP distance lr
        num_iters verbose apply_pca intermediate intermediate_snapshots random_state save_tree low_dist_thres
        knn_backend""",
    "ivis.Ivis 2.0.11": """embedding_dims k distance batch_size epochs n_epochs_without_progress n_trees ntrees
        knn_distance_metric search_k precompute model supervision_metric supervision_weight annoy_index_path callbacks
        build_index_on_disk neighbour_matrix verbose""",
    "scanpy.tl.tsne 1.12": "perplexity metric early_exaggeration learning_rate random_state use_fast_tsne n_jobs",
}
OF_ENCODERS = {
    "umap.ParametricUMAP 0.5.12": """batch_size encoder decoder parametric_reconstruction
        parametric_reconstruction_loss_fcn parametric_reconstruction_loss_weight autoencoder_loss
        reconstruction_validation global_correlation_loss_weight landmark_loss_fn landmark_loss_weight keras_fit_kwargs
        run_eagerly n_training_epochs loss_report_frequency optimizer n_neighbors min_dist metric n_components
        negative_sample_rate random_state verbose""",
    "ivis.Ivis 2.0.11": OF_MAPS["ivis.Ivis 2.0.11"] + " margin shuffle_mode",
    "contrastive-ne 0.4, scikit-learn's networks": "n_epochs learning_rate_init max_iter loss model",
}
#: Of calls with which others fit, place and go on: the method of ours, and their words.
OF_METHODS = {
    "openTSNE fit": (TSNE, "fit", "affinities initialization"),
    "PaCMAP fit": (TSNE, "fit_transform", "init save_pairs"),
    "PaCMAP transform": (TSNE, "transform", "basis init save_pairs"),
    "cuML fit": (TSNE, "fit", "knn_graph convert_dtype"),
    "UMAP fit": (TSNE, "fit", "ensure_all_finite"),
    "ParametricUMAP fit": (ParametricTSNE, "fit", "precomputed_distances landmark_positions"),
    "ParametricUMAP transform": (ParametricTSNE, "transform", "batch_size"),
    "ivis fit": (TSNE, "fit", "shuffle_mode"),
    "ivis encoder": (ParametricTSNE, "fit", "shuffle_mode"),
    "openTSNE transform": (
        TSNE, "transform",
        "perplexity initialization k learning_rate early_exaggeration early_exaggeration_iter exaggeration n_iter "
        "initial_momentum final_momentum max_grad_norm max_step_norm",
    ),
    "openTSNE optimize": (
        TSNE, "continue_fit",
        "n_iter exaggeration momentum learning_rate max_grad_norm n_jobs inplace propagate_exception",
    ),
}  # fmt: skip
#: Programs whose signature can be read where they are installed.
INSTALLED = {
    "sklearn.manifold.TSNE 1.9": ("sklearn.manifold", "TSNE"),
    "openTSNE.TSNE 1.0.4": ("openTSNE", "TSNE"),
    "umap.UMAP 0.5.12": ("umap", "UMAP"),
    "pacmap.PaCMAP 0.9": ("pacmap", "PaCMAP"),
    "torchdr.TSNE 0.5": ("torchdr", "TSNE"),
}

MAPS, ENCODERS = set(TSNE._get_param_names()), set(ParametricTSNE._get_param_names())


def check_answer(said, word):
    """One line that names something of ours; a list of all options, or a word that merely looks alike, is none."""
    assert "; it has " not in said and "did you mean" not in said and "\n" not in said, said
    assert f"has no option {word!r}; " in said


@pytest.mark.parametrize("program", OF_MAPS)
def test_options_of_maps(program):
    for word in OF_MAPS[program].split():
        if word not in MAPS:
            check_answer(unknown_option(TSNE, word), word)


@pytest.mark.parametrize("program", OF_ENCODERS)
def test_options_of_encoders(program):
    for word in OF_ENCODERS[program].split():
        if word not in ENCODERS:
            check_answer(unknown_option(ParametricTSNE, word), word)


@pytest.mark.parametrize("program", INSTALLED)
def test_programs_that_are_installed_have_no_other_option(program):
    module, name = INSTALLED[program]
    found = getattr(pytest.importorskip(module, reason="another program"), name)
    words = set(inspect.signature(found).parameters) - {"self", "args", "kwargs"}
    assert words <= set(OF_MAPS[program].split()) | MAPS


@pytest.mark.parametrize("call", OF_METHODS)
def test_options_of_methods(call):
    kind, method, words = OF_METHODS[call]
    for word in words.split():
        with pytest.raises(TypeError) as error:
            getattr(kind(), method)(*([] if method == "continue_fit" else [[[0.0]]]), **{word: 3})
        said = str(error.value)
        assert said.startswith(f"{kind.__name__}.{method} has no option ")
        check_answer(said, word)


@pytest.mark.parametrize(
    "method, word, answer",
    [
        ("fit", "affinities", "an option of the estimator, a word, or in Python a matrix: TSNE(affinity=...)"),
        ("fit", "initialization", "an option of the estimator: TSNE(initialization=...)"),
        ("fit", "shuffle_mode", "full, buffer or batch: tsne_ooc.parametric.ParametricTSNE(shuffle=...)"),
        ("transform", "perplexity", "how rows are placed: TSNE(placement=Placement(perplexity=...))"),
        ("transform", "k", "TSNE(placement=Placement(k=...))"),
        ("transform", "n_iter", "steps of a row: TSNE(placement=Placement(max_iter=...))"),
        ("continue_fit", "n_iter", "it is schedule here, so many iterations more, or a list of Phase"),
        ("continue_fit", "momentum", "it is schedule=[Phase(iterations, exaggeration, momentum)] here"),
    ],
)
def test_methods_say_where_an_option_belongs(method, word, answer):
    assert answer in unknown_option(TSNE, word, method, {"X", "schedule"})


@pytest.mark.parametrize("word", ["n_epochs", "max_iter", "lr", "optimizer"])
def test_runs_speak_of_what_they_fit(word):
    """Words that mean one thing for maps and another one for encoders."""
    assert ENCODER[word].unit != MAP[word].unit
    for run, table, other in ((tsne_ooc.embed, MAP, ENCODER), (tsne_ooc.pipeline.train, ENCODER, MAP)):
        with pytest.raises(TypeError) as told:
            run(np.zeros((9, 2)), out="nowhere", **{word: 3})
        assert table[word].unit in str(told.value) and other[word].unit not in str(told.value)


def test_steps_before_a_map():
    for word in ("pca", "initial_dims", "apply_pca"):
        assert "preparation_from_options(pca=...)" in unknown_option(TSNE, word)
        assert "preparation_from_options(pca=...)" in unknown_option(ParametricTSNE, word)


def test_lists_that_are_written_twice_are_the_same():
    """The module that has the words is loaded before those that have the options."""
    assert set(_elsewhere.PLACEMENT) == set(inspect.signature(Placement).parameters)
    assert set(_elsewhere.STEPS) == set(inspect.signature(preparation_from_options).parameters)
    for here in _elsewhere.PLACING.values():
        assert not here.ours or here.ours in _elsewhere.PLACEMENT
    going_on = set(inspect.signature(TSNE.continue_fit).parameters)
    for here in _elsewhere.GOING_ON.values():
        assert not here.ours or here.ours.partition("=")[0] in going_on


@pytest.mark.parametrize(
    "option, word, answer",
    [
        ("metric", "angular", "it is 'euclidean' between rows of length 1"),
        ("metric", "dot", "an inner product is not a distance"),
        ("metric", "Pearson", "it is 'correlation' here"),
        ("metric", "spearmanr", "'correlation' of ranks"),
        ("neighbors", "brute", "it is 'exact' here"),
        ("neighbors", "kd_tree", "it is 'exact' here"),
        ("neighbors", "approx", "'auto' is an approximate search"),
        ("neighbors", "nndescent", "did you mean 'pynndescent'?"),
        ("initialization", "laplacian", "it is 'spectral' here"),
        ("affinity", "knn", "it is 'uniform' here"),
        # A word that is like none of ours is not answered with one.
        ("metric", "levenshtein", "known: "),
        ("metric", "wasserstein", "known: "),
    ],
)
def test_values_of_others(option, word, answer):
    with pytest.raises(ValueError) as error:
        TSNE(**{option: word}).check_options()
    said = str(error.value)
    assert answer in said and said.startswith(f"{option}={word!r} is not known; ") and "\n" not in said


def test_values_lead_to_words_that_there_are():
    for option, words in _elsewhere.VALUES.items():
        for word, says in words.items():
            for named in re.findall(r"'(\w+)'", says):
                TSNE(**{option: named}).check_options()
            with pytest.raises(ValueError, match="is not known"):
                TSNE(**{option: word}).check_options()


def test_angular_distances_are_those_of_rows_of_length_one():
    """Annoy's angular distance is the square root of 2 (1 - cos)."""
    a, b = np.array([3.0, 4.0]), np.array([1.0, 7.0])
    cos = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    unit = a / np.linalg.norm(a) - b / np.linalg.norm(b)
    assert np.isclose(np.linalg.norm(unit), np.sqrt(2 * (1 - cos)))


@pytest.mark.parametrize("command, programs", [("embed", OF_MAPS), ("train", {**OF_MAPS, **OF_ENCODERS})])
def test_every_word_typed_as_an_option(capsys, command, programs):
    """The answer is one line, and names an option of the command, a call of Python, or why there is nothing to set."""
    (choices,) = (one.choices for one in parser()._actions if getattr(one, "choices", None) and "embed" in one.choices)
    known = choices[command]._option_string_actions
    for word in {word for words in programs.values() for word in words.split()}:
        typed = f"--{word.replace('_', '-')}"
        if typed in known:
            continue
        with pytest.raises(SystemExit):
            parser().parse_args([command, "x.npy", "--out", "map", typed])
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "did you mean" not in said and "known: " not in said, said
        if " it is --" in said:
            assert said.partition(" it is ")[2].split()[0] in known, said
            # What a part of an option in Python cannot be typed.
            assert "(" not in said.partition(" it is ")[2].split(" here")[0]
        else:
            reasons = ("leave it out", "that is for Python only: tsne_ooc.", "which tsne-ooc train makes")
            assert any(reason in said for reason in reasons), said


@pytest.mark.parametrize(
    "name, answer",
    [
        ("optimize", "it is continue_fit"), ("prepare_partial", "it is place"), ("save_model", "it is save"),
        ("load_model", "tsne_ooc.load reads"), ("update", "transform places"),
        ("inverse_transform", "ParametricTSNE(decoder=True)"),
    ],
)  # fmt: skip
def test_methods_of_others(name, answer):
    with pytest.raises(AttributeError, match=f"^TSNE has no {name!r}; ") as error:
        getattr(TSNE(), name)
    assert answer in str(error.value) and not hasattr(TSNE(), name)


def test_an_encoder_says_itself_what_it_lacks():
    with pytest.raises(AttributeError, match="decoder") as error:
        _ = ParametricTSNE().inverse_transform
    assert "an encoder that learns" not in str(error.value)
    with pytest.raises(AttributeError, match="it is export_onnx"):
        _ = ParametricTSNE().export_model
    # A map cannot be written so.
    assert not hasattr(TSNE(), "export_model")
    with pytest.raises(AttributeError, match="object has no attribute 'export_model'"):
        _ = TSNE().export_model


def test_signatures_of_methods_are_as_they_are_written():
    for kind, methods in ((TSNE, ("fit", "fit_transform", "transform", "continue_fit")), (ParametricTSNE, ("fit",))):
        for name in methods:
            shown = inspect.signature(getattr(kind, name))
            assert "kwargs" not in str(shown) and "options" not in shown.parameters
            assert importlib.import_module(getattr(kind, name).__module__).__name__.startswith("tsne_ooc")


@pytest.mark.parametrize(
    "word, names, answer",
    [
        ("metrik", ["metric", "neighbors"], "did you mean 'metric'?"),
        ("METRIC", ["metric"], "did you mean 'metric'?"),
        ("zzz", ["b", "c", "a"], "it has a, b, c"), ("zzz", (), "it has "),
        # Three of five letters of each are the least that is alike.
        ("abcxy", ["abcuv"], "did you mean 'abcuv'?"), ("abxyz", ["abuvw"], "it has abuvw"),
    ],
)  # fmt: skip
def test_the_nearest_name_or_all_in_order(word, names, answer):
    assert _elsewhere.nearest(word, iter(names)) == answer
    assert _elsewhere.nearest(word, frozenset(names)) == answer


@pytest.mark.parametrize(
    "phrases, tables",
    [
        (("a map: tsne=TSNE({})",), MAP), (("a map: tsne=TSNE({})", "an encoder: model=ParametricTSNE({})"), ENCODER),
        (("an encoder: model=ParametricTSNE({})", "a map: tsne=TSNE({})"), ENCODER),
    ],
)  # fmt: skip
def test_words_of_encoders_come_first_where_an_encoder_is_among_what_is_taken(phrases, tables):
    """`n_epochs` is one thing of maps, and another of encoders."""
    assert MAP["n_epochs"] != ENCODER["n_epochs"]
    with pytest.raises(TypeError) as caught:
        _elsewhere.refuse_options("embed", ["n_epochs"], ["source"], {key: ["n_iter"] for key in phrases})
    assert str(caught.value) == (
        f"embed has no option 'n_epochs'; that is {phrases[0].partition(': ')[0]}, {tables['n_epochs'].unit}: "
        f"{phrases[0].partition(': ')[2].format('n_iter=...')}"
    )
    _elsewhere.refuse_options("embed", [], ["source"], {})


@pytest.mark.parametrize(
    "has, name, told",
    [("place", "prepare_partial", True), ("prepare_partial place", "prepare_partial", False),
    ("", "prepare_partial", False),
     ("place", "other", False), ("transform", "update", True)],
)  # fmt: skip
def test_a_method_of_others_is_answered_where_ours_is_there(has, name, told):
    kind = type("Estimator", (), dict.fromkeys(has.split()))
    assert _elsewhere.renamed_method(kind, name) == (
        f"Estimator has no {name!r}; {_elsewhere.METHODS[name][1]}" if told else None
    )
