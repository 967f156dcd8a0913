"""The judge on this machine, with a random tiny model that is really loaded and asked."""

import pytest

from o3v.benchmarks.judge.local import LocalJudge
from o3v.benchmarks.question import ToJudge
from o3v.errors import ConfigError

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed

    folder = tmp_path_factory.mktemp("models") / "tiny"
    words = ["<eos>", "<unk>", "user", "assistant", ":", "grade", *"0123456789"]
    core = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    set_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=64, num_key_value_heads=2, max_position_embeddings=64, **sizes)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def requests(n):
    return [ToJudge("q", "t", "a", ({"role": "user", "content": "grade " + "1 " * (i + 1)},)) for i in range(n)]


def test_replies_do_not_depend_on_the_batch(saved):
    replies = [
        dict(LocalJudge("tiny", str(saved.parent), "float32", "cpu", 4, batch).replies(requests(5))) for batch in (1, 5)
    ]
    assert replies[0] == replies[1] and set(replies[0]) == set(range(5))
    assert all(isinstance(reply, str) for reply in replies[0].values())


def test_a_model_that_is_not_there_is_told(tmp_path):
    judge = LocalJudge("none", str(tmp_path), "float32", "cpu", 4, 1)
    assert list(judge.replies([])) == []
    with pytest.raises(ConfigError, match=r"judge\.path='none'"):
        list(judge.replies(requests(1)))
